// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TABLE_SINK_H_
#define REEMBED_ENGINE_TABLE_SINK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/undo_log.h"
#include "engine/vector_sink.h"

// What all targets have in common whose rows are found by their keys: tables, collections, graphs. What a store does
// itself is a RowWriter.
namespace reembed {

// A row with a vector on its way into a table, and what became of it.
struct RowToWrite {
  const BatchRow* row = nullptr;
  std::optional<std::string> key;  // set by NameRows()
  absl::Status refusal;            // not OK: it is not stored, in these words, without the names of table and row

  // The table has no such row, and none is added.
  void SetGone(absl::string_view words = "is gone from the target") { refusal = absl::NotFoundError(words); }
  // The table does not take it.
  void Refuse(absl::string_view words) { refusal = absl::FailedPreconditionError(words); }
};

// How one store writes rows: the steps of VectorSink, over rows. All calls come from one thread at a time; widths are
// checked before.
class RowWriter : public TargetSteps {
 public:
  // As VectorSink::Open().
  virtual absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) = 0;

  // Sets the keys of rows as the store is asked for them, equal where it takes them for one row, and refuses those that
  // no row can have. Without keys all rows come to Write(), also of the same. Called before each Write(), so a table
  // that needs the first keys can be made here.
  virtual absl::Status NameRows(absl::Span<RowToWrite>) { return absl::OkStatus(); }

  // Logs what the rows hold (LogOldRows()) and stores them; sets `refusal` of those that the store refuses.
  // `rows`: at least one, in ordinal order, none refused yet and of those with the same key only the last.
  // Errors: what has nothing to do with single rows.
  virtual absl::Status Write(absl::Span<RowToWrite* const> rows) = 0;

  // As VectorSink's. What is written is durable when nothing is said here.
  virtual absl::Status Flush() { return absl::OkStatus(); }
  virtual absl::Status Complete() { return Flush(); }
};

// A sink that gives vectors of `dim` numbers to the writer, whose rows it takes together, sorts and reports.
// `place`: what refusals and errors of width are about, as in "notes.db: table `notes`".
// Errors: those of the writer; kFailedPrecondition (another width: nothing of the call is stored).
std::unique_ptr<VectorSink> MakeTableSink(absl::string_view place, int dim, std::unique_ptr<RowWriter> writer);

// Shows the log what the rows hold that are about to be written. `find` is called for each row, in their order: it says
// whether the row is to be shown (one that is not there and will not be added is not), and sets what it holds, which
// must stay until the next call; nullopt: the target has no such row. A null log takes nothing.
// Errors: those of the log and of `find`.
absl::Status LogOldRows(absl::Span<RowToWrite* const> rows, UndoLog* log,
                        absl::FunctionRef<absl::StatusOr<bool>(size_t row, std::optional<absl::string_view>*)> find);

}  // namespace reembed

#endif  // REEMBED_ENGINE_TABLE_SINK_H_
