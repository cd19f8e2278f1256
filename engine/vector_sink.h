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
};

// One row that the target itself refused, although the row has a vector.
struct RefusedRow {
  int64_t ordinal = 0;
  absl::Status reason;  // kNotFound: the row is gone from the target; else the target's own words
};

enum class RowOrder { kAny, kAscending };

// Takes finished vectors: a file, a database, an index. All calls come from one thread at a time, one after the other.
// Making a sink checks everything that can be checked (exists, is of that kind, has this width) and changes nothing;
// changes begin with Open().
class VectorSink {
 public:
  virtual ~VectorSink() = default;

  // kAscending: Write() gets rows in ascending ordinal order, each once.
  virtual RowOrder row_order() const { return RowOrder::kAny; }

  // Begins, or continues after a crash. Returns the ordinal from which the sink must be served (<= last.position):
  // 0 when what it had is gone. It drops whatever it holds from that ordinal on.
  virtual absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) = 0;

  // Stores the rows whose `vector` is set. The same row again replaces itself. Rows that the target refuses are added
  // to `refused` and the rest is stored. Not necessarily safe before the next Flush().
  virtual absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) = 0;

  // What was written survives a crash of this process and of the machine, as far as the format allows it: a sink that
  // lives in memory until Finish() says so by asking for everything again in Open().
  virtual absl::Status Flush() = 0;

  // Every row was written: makes the target complete and visible (rename, save, index), durably. Called once, after
  // the last Write(); not called when the run ends early.
  virtual absl::Status Finish() = 0;
};

// What all sinks say of a width that is not theirs. Errors: kFailedPrecondition.
// Of vectors that they are given: `target` was made for vectors of `dim` numbers.
absl::Status CheckWidth(absl::string_view target, int dim, int given);
// Of a target that holds, or takes, only vectors of `holds` numbers, where the job makes `dim`. `otherwise`: how such
// vectors could get there all the same.
absl::Status OtherWidthError(absl::string_view target, int holds, int dim, absl::string_view otherwise);

}  // namespace reembed

#endif  // REEMBED_ENGINE_VECTOR_SINK_H_
