// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_ROW_COMPARISON_H_
#define REEMBED_ENGINE_ROW_COMPARISON_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/ledger.h"
#include "engine/owed_rows.h"
#include "engine/source.h"

namespace reembed {

// The source beside the ledger of its job.
struct ComparedRows {
  Source* all = nullptr;      // at its start
  Source* lacking = nullptr;  // those of `all` that lack a vector, at its start; null: nobody knows
  bool all_lack = false;      // without `lacking`: all of `all` do
  bool only_lacking = false;  // only those are wanted as new rows
  bool texts = true;          // whether texts are compared; false: rows only
  // Whether the job takes this text. A row that was rejected unseen has changed when it has such a one. Null:
  // CheckText().
  std::function<bool(std::optional<absl::string_view> text)> usable = nullptr;
};

// What to do with a row of the ledger. The row's key dies at the next call.
struct RowFindings {
  // It has another text than the ledger knows; a rejected one has a text that may be usable. nullopt: NULL.
  std::function<void(const LedgerRow& row, const TextHash& now, std::optional<absl::string_view> text)> changed;

  // It has its text still, but lacks the vector that was bought for it.
  std::function<void(const LedgerRow& row)> lost;
};

struct RowComparison {
  int64_t rows = 0;        // of the source that were looked at
  int64_t text_bytes = 0;  // of their texts
  int64_t rows_changed = 0;
  int64_t rows_lost = 0;
  NewRows new_rows;
};

// Walks over both. Where they are in the same order, as they are but for rows that came, went or came back, this is a
// comparison of neighbours; what is out of order waits in a table (about 50 bytes a row) until the other side has it.
// Ends early when all rows of the ledger were seen. Rows of the ledger that the source does not have are nobody's
// business: they are gone.
// `ledger`: all rows from 0 on; a thread of this call reads it. `lacking` must not share a connection with `all`. The
// findings are told while `all` shows the row (Source::ShowRows). Errors: of either side.
absl::StatusOr<RowComparison> CompareRows(const ComparedRows& rows, std::unique_ptr<LedgerCursor> ledger,
                                          const RowFindings& findings);

}  // namespace reembed

#endif  // REEMBED_ENGINE_ROW_COMPARISON_H_
