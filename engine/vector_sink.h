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

// What the ledger remembers of a sink: all rows with an ordinal below `position` are safely in it, or rejected.
struct SinkPosition {
  int64_t position = 0;
  int64_t stored_rows = 0;  // those of them that are stored, so for a file: the number of its valid rows
};

// What a sink may want to know before it starts.
struct SinkContext {
  Model model;
  int64_t expected_rows = 0;  // rows that will be in it at the end, as counted at the start; a hint
  UndoLog* undo = nullptr;    // keeps what the sink overwrites; outlives the sink's last call. Null: nothing is kept
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
// So several sinks may fill one target, each with rows of its own, from other processes or machines, and none of them
// does what is the job's. A sink that is alone does all four.

// The two steps that are once a job. By default there is nothing to do. Each may be called again, also after a crash in
// its midst, and by a sink that does nothing else. Threads and errors: as VectorSink.
class TargetSteps {
 public:
  virtual ~TargetSteps() = default;

  // Before any sink of the job is opened. Whether the place of the rows was made anew: then nothing that the ledger
  // believes to be there is there.
  virtual absl::StatusOr<bool> Prepare(const SinkContext&) { return false; }

  // When all sinks of the job have completed.
  virtual absl::Status Publish(const SinkContext&) { return absl::OkStatus(); }
};

// Takes finished vectors: a file, a database, an index. All calls come from one thread at a time, one after the other.
// Making a sink checks everything that can be checked (exists, is of that kind, has this width) and changes nothing;
// changes begin with Prepare() or Open().
class VectorSink : public TargetSteps {
 public:
  // kAscending: Write() gets rows in ascending ordinal order, each once.
  virtual RowOrder row_order() const { return RowOrder::kAny; }

  // Begins, or continues after a crash. Returns the ordinal from which the sink must be served (<= last.position):
  // 0 when what it had is gone. It drops whatever it holds from that ordinal on. Needs a target that is prepared.
  // Errors: also kFailedPrecondition (it is not).
  virtual absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) = 0;

  // Stores the rows whose `vector` is set. The same row again replaces itself. Rows that the target refuses are added
  // to `refused` and the rest is stored. Not necessarily safe before the next Flush().
  virtual absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) = 0;

  // What was written survives a crash of this process and of the machine, as far as the format allows it: a sink that
  // lives in memory until Complete() says so by asking for everything again in Open().
  virtual absl::Status Flush() = 0;

  // Every row of this sink was written: they are in the target, durably; a file of its own gets its name. Called once,
  // after the last Write(); not called when the run ends early.
  virtual absl::Status Complete() = 0;
};

// What a sink that fills its target alone does first and last: Prepare() and Open(), Complete() and Publish().
absl::StatusOr<int64_t> PrepareAndOpen(VectorSink* sink, const SinkContext& context, const SinkPosition& last);
absl::Status CompleteAndPublish(VectorSink* sink, const SinkContext& context);

// What all sinks say of a target that lacks what Prepare() makes. Errors: kFailedPrecondition.
absl::Status NotPreparedError(absl::string_view target, absl::string_view lacks);

// What all sinks say of a width that is not theirs. Errors: kFailedPrecondition.
// Of vectors that they are given: `target` was made for vectors of `dim` numbers.
absl::Status CheckWidth(absl::string_view target, int dim, int given);
// Of a target that holds, or takes, only vectors of `holds` numbers, where the job makes `dim`. `otherwise`: how such
// vectors could get there all the same.
absl::Status OtherWidthError(absl::string_view target, int holds, int dim, absl::string_view otherwise);

}  // namespace reembed

#endif  // REEMBED_ENGINE_VECTOR_SINK_H_
