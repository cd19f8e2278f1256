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

// What the ledger knows of a sink: all rows with an ordinal below `position` are durably in it, or rejected.
struct SinkPosition {
  int64_t position = 0;
  int64_t stored_rows = 0;  // those of them that are stored, so for a file: the number of its valid rows
};

// What a sink may want to know before it starts.
struct SinkContext {
  Model model;
  int64_t expected_rows = 0;  // rows that will be in it at the end, as counted at the start; a hint
  UndoLog* undo = nullptr;    // gets what the sink overwrites; outlives the sink's last call. Null: it is not logged
  bool begun = false;         // rows of the job are in the target already, as far as the ledger knows
};

// One row that the target itself refused, although the row has a vector.
struct RefusedRow {
  int64_t ordinal = 0;
  absl::Status reason;  // kNotFound: the row is gone from the target; else the target's own words
};

enum class RowOrder { kAny, kAscending };

// The life of a target has four steps:
//
//   prepare   once a job     makes what is missing: table, column, collection, snapshot        Prepare()
//   fill      each sink      rows                                                              Open(), Write(), Flush()
//   complete  each sink      the rows that it was given are there, durably                     Complete()
//   publish   once a job     switches readers over (alias, column), builds indexes             Publish()
//
// So several sinks may fill one target, each with rows of its own, from several processes or machines; the steps that
// are once a job are taken by one of them, or by none. A sink that is alone takes all four.

// The two steps that are once a job. By default there is nothing to do. Each may be called again, also after a crash in
// its midst, and by a sink that does nothing else. Threads and errors: as VectorSink.
class TargetSteps {
 public:
  virtual ~TargetSteps() = default;

  // Before any sink of the job is opened. True: the place of the rows was made anew, so rows that the ledger lists as
  // stored are not there.
  virtual absl::StatusOr<bool> Prepare(const SinkContext&) { return false; }

  // When all sinks of the job have completed.
  virtual absl::Status Publish(const SinkContext&) { return absl::OkStatus(); }
};

// Writes vectors to a target: a file, a database, an index. Called by one thread at a time.
// Making a sink checks everything that can be checked (the target exists, is of that kind, has this width) and changes
// nothing; changes begin with Prepare() or Open().
class VectorSink : public TargetSteps {
 public:
  // kAscending: Write() gets rows in ascending ordinal order, each once.
  virtual RowOrder row_order() const { return RowOrder::kAny; }

  // Begins, or resumes after a crash. Returns the ordinal from which the sink must be served (<= last.position): 0 when
  // what it had is gone. Drops whatever the target holds from that ordinal on.
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

// For a sink that fills its target alone: Prepare() and Open(); Complete() and Publish().
absl::StatusOr<int64_t> PrepareAndOpen(VectorSink* sink, const SinkContext& context, const SinkPosition& last);
absl::Status CompleteAndPublish(VectorSink* sink, const SinkContext& context);

// The error of every sink whose target lacks what Prepare() makes: kFailedPrecondition.
absl::Status NotPreparedError(absl::string_view target, absl::string_view lacks);

// The errors of every sink about widths: kFailedPrecondition.
// Of vectors that it is given: `target` was made for vectors of `dim` numbers.
absl::Status CheckWidth(absl::string_view target, int dim, int given);
// Of a target that holds, or takes, only vectors of `holds` numbers, where the job makes `dim`. `otherwise`: how such
// vectors could get there all the same.
absl::Status OtherWidthError(absl::string_view target, int holds, int dim, absl::string_view otherwise);

}  // namespace reembed

#endif  // REEMBED_ENGINE_VECTOR_SINK_H_
