// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_VECTOR_SINK_H_
#define REEMBED_ENGINE_VECTOR_SINK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/embedding_client.h"
#include "engine/undo_log.h"

namespace reembed {

// The position of a sink in the ledger: all rows with an ordinal below `position` are durably in it, or rejected.
struct SinkPosition {
  int64_t position = 0;
  int64_t stored_rows = 0;  // how many of these rows are stored; for a file: its number of valid rows
};

// Information for a sink before it starts.
struct SinkContext {
  Model model;
  int64_t expected_rows = 0;  // rows that it will have at the end, as counted at the start; a hint
  UndoLog* undo = nullptr;    // gets what the sink overwrites; outlives the sink's last call. Null: nothing is logged
  bool begun = false;         // the ledger says that rows of the job are already in the target
};

// One row that the target itself refused, although the row has a vector.
struct RefusedRow {
  int64_t ordinal = 0;
  absl::Status reason;  // kNotFound: the row is gone from the target; else the target's own words
};

enum class RowOrder { kAny, kAscending };

// A target is filled in four steps:
//
//   prepare   once per job   makes what is missing: table, column, collection, snapshot        Prepare()
//   fill      each sink      rows                                                              Open(), Write(), Flush()
//   complete  each sink      makes all its rows durable                                        Complete()
//   publish   once per job   switches readers over (alias, column), builds indexes             Publish()
//
// So several sinks, on several machines, may fill one target, each with its own rows. The steps that are done once per
// job are done by one of the sinks, or by a separate one. A sink that fills its target alone does all four.

// The two steps that are done once per job. By default they do nothing. Each may be repeated, also after a crash during
// it, and may be called on a sink that does nothing else. Threads and errors: as VectorSink.
class TargetSteps {
 public:
  virtual ~TargetSteps() = default;

  // Called before any sink of the job is opened. True: the table or collection was created again, so it does not have
  // the rows that the ledger lists as stored.
  virtual absl::StatusOr<bool> Prepare(const SinkContext&) { return false; }

  // Called when all sinks of the job have completed.
  virtual absl::Status Publish(const SinkContext&) { return absl::OkStatus(); }
};

// Writes vectors to a target: a file, a database, an index. Called by one thread at a time.
// Making a sink checks everything that can be checked (the target exists, is of that kind, has this width) and changes
// nothing; changes begin with Prepare() or Open().
class VectorSink : public TargetSteps {
 public:
  // kAscending: Write() gets rows in ascending ordinal order, each once.
  virtual RowOrder row_order() const { return RowOrder::kAny; }

  // Begins, or resumes after a crash. Returns the ordinal from which the sink needs rows (<= last.position): 0 if its
  // rows are lost. Drops the target's rows from that ordinal on.
  // Errors: also kFailedPrecondition (the target is not prepared).
  virtual absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) = 0;

  // Stores the rows whose `vector` is set. Idempotent: a row that is written again replaces itself. Rows that the
  // target refuses are added to `refused`, and the others are stored. Durable no later than the next Flush().
  virtual absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) = 0;

  // Makes what was written durable: it survives a crash of the process and of the machine. A sink that holds its rows
  // in memory until Complete() asks for all of them again in Open().
  virtual absl::Status Flush() = 0;

  // After the last Write(): makes all rows of this sink durable, and gives a file its final name. Called once; not
  // called when the run ends early.
  virtual absl::Status Complete() = 0;
};

// Prepare() and Open(); Complete() and Publish(). For a sink that fills its target alone.
absl::StatusOr<int64_t> PrepareAndOpen(VectorSink* sink, const SinkContext& context, const SinkPosition& last);
absl::Status CompleteAndPublish(VectorSink* sink, const SinkContext& context);

// The error of every sink whose target lacks what Prepare() makes: kFailedPrecondition.
absl::Status NotPreparedError(absl::string_view target, absl::string_view lacks);

// The errors of every sink about widths: kFailedPrecondition.
// The sink is given vectors of `given` numbers, and `target` was made for vectors of `dim` numbers.
absl::Status CheckWidth(absl::string_view target, int dim, int given);
// The target holds, or takes, only vectors of `holds` numbers, and the job makes vectors of `dim` numbers. `otherwise`:
// advice for storing such vectors anyway.
absl::Status OtherWidthError(absl::string_view target, int holds, int dim, absl::string_view otherwise);

}  // namespace reembed

#endif  // REEMBED_ENGINE_VECTOR_SINK_H_
