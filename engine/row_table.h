// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_ROW_TABLE_H_
#define REEMBED_ENGINE_ROW_TABLE_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/key.h"
#include "engine/undo_log.h"

// What a rollback needs of a store: to look at rows by their keys, and to change them. What is to become of a row is
// decided in engine/rollback.cc, once for all stores.
namespace reembed {

// A row of the log, as the target has it now.
struct RowNow {
  bool there = false;
  // Whether it was there before the job, or is known to have been there since.
  bool was_there = false;
  // What the filled cells hold, as OldRow::content: equal bytes are equal values. A cell that the log did not keep is
  // left out here as it is there.
  std::string content;
  // For Holds(), where `content` does not have the vector; the store's own.
  std::string vector;
  // Why it cannot be put back; empty: it can.
  std::string stuck;
  // Why it must not be removed, if the job added it: somebody else uses it; empty: it may.
  std::string stays;
};

// What is to become of a row.
struct RowChange {
  size_t row = 0;  // its place among those of the last Read()
  KeyView key;
  std::optional<absl::string_view> content;  // it is to hold this again; nullopt: it is to go
};

// What became of it.
struct RowOutcome {
  enum class Kind {
    kDone,
    kAgain,     // not known: somebody changed or removed rows meanwhile, or the connection is lost; to be read again
    kRefused,   // the store does not take it; it stays as it is
    kTogether,  // nothing was done, as the store refused one of these changes: smaller parts will tell which
  };
  Kind kind = Kind::kDone;
  std::string why;  // of a refusal
};

// Rows of one target that are being put back. Used by one thread.
class RowTable {
 public:
  virtual ~RowTable() = default;

  // Looks at the rows; `now` has a place for each. What is read holds until Apply(), as far as the store can promise
  // it. Errors: the store's; kDataLoss (what the log says of a row was not made by this store).
  virtual absl::Status Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) = 0;

  // Whether a row that Read() found holds the vector `written`, [dim], as this store keeps it; nullopt: it keeps so
  // little of a number, or has the row without its vector, that nobody can tell.
  virtual absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) = 0;

  // Makes the changes, durably, and says for each what became of it; also called with none, so that what Read() began
  // can end. Rows that were read and are not among the changes stay as they are. Errors: the store's, other than what
  // RowOutcome says.
  virtual absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) = 0;

  // Afterwards: takes away tables, columns, indexes and names that the job has made, as far as nothing is in them, and
  // says in report->notes what went and what stays.
  virtual absl::Status TakeAway(UndoReader* log, RollbackReport* report) = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_ROW_TABLE_H_
