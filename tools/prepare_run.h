// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PREPARE_RUN_H_
#define REEMBED_TOOLS_PREPARE_RUN_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/model_sample.h"
#include "engine/target_lock.h"
#include "engine/vector_sink.h"
#include "io/job/job_records.h"
#include "io/job/job_store.h"
#include "tools/changed_rows.h"
#include "tools/column_locks.h"
#include "tools/environment.h"
#include "tools/preflight.h"
#include "tools/resolve.h"
#include "tools/same_model.h"
#include "tools/spending.h"
#include "tools/target_files.h"
#include "tools/token_counting.h"

// All that comes before the first purchase.
namespace reembed {

// One stream of the command, opened and checked, so that nothing is bought for the first before the last is sound.
struct Prepared {
  ResolvedJob job;
  Preflight preflight;
  bool new_directory = false;         // the job's directory was made by this command
  bool new_parent_directory = false;  // likewise, where streams have theirs in one of the job
  TargetLocks locks;                  // held until the command ends
  std::vector<TargetLock*> columns;   // of the targets; null: no lock of that kind. Live as ColumnLocks
  std::unique_ptr<JobStore> store;
  ChangedRows changed;
  std::string source_file;  // as FileStateOf() had it before the source was read
  JobStats before;
  UnknownModel unknown;  // what is there already
  SampleVerdict sample;  // of it
  ClientStats probed;
};

// Locks what the stream fills, opens and checks all parts, and takes up what is owed from before. Nothing is bought.
// Errors: those of the parts; then nothing is left behind. Who does not go on after a success calls Discard().
absl::StatusOr<Prepared> Prepare(ResolvedJob resolved, const Environment& environment, ColumnLocks* columns);

// A job that ends before it began leaves nothing behind.
void Discard(Prepared* prepared);

// The money of the job, of which these are the streams that are asked for. Errors: of the other streams' ledgers.
absl::StatusOr<std::unique_ptr<Spending>> MakeSpending(std::vector<Prepared>* all);

// One text is sent before the first purchase; streams share the answer. Errors: those of the embedder.
absl::Status Probe(std::vector<Prepared>* all, Spending* spending);

// Nothing is added beside vectors of another model, unless the user wants that. Errors: kFailedPrecondition (another
// model), and those of the embedder.
absl::Status CheckModels(const TokenCounting& counting, std::vector<Prepared>* all, Spending* spending);

// What the job was asked for, into its directory. Errors: of the file.
absl::Status WriteJobDescription(const ResolvedJob& job);

// URIs without secrets, in the order of the targets.
std::vector<std::string> TargetNames(const ResolvedJob& job);

// The sink under the lock, which is borrowed; null: none.
std::unique_ptr<VectorSink> Locked(std::unique_ptr<VectorSink> sink, TargetLock* lock);

// Size, time and inode of a source that is one file; empty: it is none, or cannot be looked at.
std::string FileStateOf(const Store& source);

// To the user, unless the run is quiet. From any thread.
void PrintNote(const ResolvedJob& job, const std::string& note);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PREPARE_RUN_H_
