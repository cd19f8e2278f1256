// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_OWED_ROWS_H_
#define REEMBED_ENGINE_OWED_ROWS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/batch.h"
#include "engine/key.h"
#include "engine/vector_sink.h"

// Rows whose text changed after their vector had been written: what a sink must get once more, below its position.
namespace reembed {

// The part of a job's memory that knows it. Called by the pipeline: Owed() and BeginAgain() before the first batch,
// Settle() by the threads of the sinks.
class OwedRows {
 public:
  virtual ~OwedRows() = default;

  // Ordinals below the sink's position whose vector is another by now than the one that the sink has, ascending. Not
  // those of rows that are rejected.
  virtual absl::StatusOr<std::vector<int64_t>> Owed(absl::string_view sink) = 0;

  // The sink cannot replace rows: its position is OutdatedPosition() until Settle(). Durable when it returns.
  virtual absl::Status BeginAgain(absl::string_view sink) = 0;

  // The sink is complete, and is owed nothing any more.
  virtual void Settle(absl::string_view sink) = 0;
};

// The position of a sink that is built again, from row 0 on, because rows that it had have other vectors now. It had
// `rows` rows when it was complete. The new one grows beside that, and takes its place in Complete().
inline SinkPosition OutdatedPosition(int64_t rows) { return {.position = 0, .stored_rows = -1 - rows}; }

// Of such a position; nullopt: it is none.
inline std::optional<int64_t> OutdatedRows(const SinkPosition& position) {
  return position.stored_rows < 0 ? std::optional<int64_t>(-1 - position.stored_rows) : std::nullopt;
}

// Batches of owed rows stand for no range of ordinals: theirs lies below 0, and moves no position.
inline RowRange OwedRange(int64_t rows) { return {-rows, 0}; }
inline bool IsOwed(const RowRange& range) { return range.begin < 0; }

// Which rows of the source the ledger does not have, as CompareRows() found them (engine/row_comparison.h).
struct NewRows {
  std::vector<Key> keys;     // of those in front of others that it has, in source order
  std::optional<Key> after;  // all others are behind this one; nullopt: the source is at its start, and all are there
  absl::flat_hash_set<uint64_t> known;  // KeyPrint() of rows behind `after` that it has
};

// 64 bits of a key's hash, for tables of keys in memory. An integer and its text have different ones.
uint64_t KeyPrint(KeyView key);

}  // namespace reembed

#endif  // REEMBED_ENGINE_OWED_ROWS_H_
