// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_EARLIER_JOBS_H_
#define REEMBED_TOOLS_EARLIER_JOBS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/ledger.h"
#include "engine/location.h"
#include "engine/vector_place.h"
#include "io/job/job_reader.h"
#include "io/job/job_records.h"

// What earlier jobs wrote to a place. Reads only, needs no lock, and may be used beside a run.
namespace reembed {

// The place of a target. nullopt: it has none that lasts (standard output).
std::optional<VectorPlace> PlaceOf(const Location& target);

// The end of the last run that had new vectors, as far as receipts tell.
std::optional<absl::Time> LastBought(const JobStats& stats);

// A job that has written to a place, or may have until it was killed.
struct EarlierJob {
  std::string directory;  // that of its ledger, so of one stream where a job has several
  JobIdentity identity;   // its model, width, recipe, normalization
  KeepVectors keep_vectors = KeepVectors::kAlways;
  std::string target;    // the place as its ledger names it
  int64_t rows = 0;      // that it has numbered
  int64_t position = 0;  // rows below it are in the target, but for those that were rejected; others may be, too, if it
                         // was killed
  std::optional<absl::Time> began;        // its first run
  std::optional<absl::Time> ended;        // of its last run that ended by itself
  std::optional<absl::Time> bought;       // LastBought(); of one that was killed, when it wrote to its files last
  std::optional<absl::Time> rolled_back;  // its targets were put back then, and it wrote nothing since
};

struct EarlierJobs {
  std::vector<EarlierJob> jobs;         // the one that ended last comes first, those that never ended are behind
  std::vector<std::string> unreadable;  // folders that hold a ledger, and why it cannot be read
};

// The jobs that have written to the place of `target`. Looked for in each of `folders`, which is a folder of jobs
// (JobsFolder()), a job, or one stream of it; absent ones hold none. `except`: a job's directory, that is left out with
// all its streams.
EarlierJobs FindEarlierJobs(const Location& target, absl::Span<const std::string> folders, const std::string& except);

// A row that a job has written to its target.
struct WrittenRow {
  KeyView key;    // valid until the next call
  TextHash hash;  // of the text that its vector was made from; zero if the job keeps no vectors
  int64_t slot = -1;
};

// The rows of one job that its target has, in the order in which the job numbered them, as of the opening.
class WrittenRows {
 public:
  // Errors: as JobReader::Open.
  static absl::StatusOr<std::unique_ptr<WrittenRows>> Open(const EarlierJob& job);

  // nullopt after the last. Errors: as LedgerCursor.
  absl::StatusOr<std::optional<WrittenRow>> Next();

  // The vector that was written, [identity.dim], before the target rounded it. Errors: as JobReader::ReadVector.
  absl::Status ReadVector(const WrittenRow& row, absl::Span<float> vector) const {
    return reader_->ReadVector(row.slot, vector);
  }

 private:
  WrittenRows() = default;

  std::unique_ptr<JobReader> reader_;
  std::unique_ptr<LedgerCursor> rows_;
  absl::flat_hash_set<int64_t> refused_;  // by the target alone, ordinals
  int64_t end_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_EARLIER_JOBS_H_
