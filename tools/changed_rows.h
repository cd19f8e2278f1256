// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_CHANGED_ROWS_H_
#define REEMBED_TOOLS_CHANGED_ROWS_H_

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/owed_rows.h"
#include "engine/row_comparison.h"
#include "engine/source.h"
#include "io/job/job_store.h"
#include "tools/resolve.h"

namespace reembed {

// What a run takes up besides the rows that lack a vector: rows whose text is another by now than the one that their
// vector is made from. The job's ledger knows its hash; where it does not have the row, that of an earlier job over
// the same place, of the same model and recipe.
struct ChangedRows {
  bool compared = false;      // false: there was nothing to compare with, and new rows are where the source begins
  int64_t rows_compared = 0;  // of the source
  int64_t bytes_read = 0;     // of their texts
  int64_t rows_changed = 0;   // those of earlier jobs included
  int64_t rows_lost = 0;  // lack the vector that the job has bought for them: it is written again, nothing is bought
  NewRows new_rows;
};

// All rows of the job's ledger.
using ScanLedger = absl::FunctionRef<absl::StatusOr<std::unique_ptr<LedgerCursor>>()>;

// Compares what the job selects with its ledger, which has `ledger_rows` rows, and with earlier jobs. Reads only; the
// findings are told as they come. `of_earlier`: the text of a row that the ledger does not have, and whose vector an
// earlier job made from another; it becomes a new row. With --no-changed no text is compared.
// Errors: of the source and the ledgers.
absl::StatusOr<ChangedRows> FindChangedRows(const ResolvedJob& job, int64_t ledger_rows, ScanLedger ledger,
                                            const RowFindings& findings,
                                            absl::FunctionRef<void(absl::string_view text)> of_earlier);

// Marks rows that have another text than their vector was made from, so that the pipeline embeds them again and serves
// them to the targets; `changed` is called for each before. What the sink `own` has of the job's rows, up to the
// ordinal `written`, and holds no more, is served to it again. The caller syncs the store. Errors: as
// FindChangedRows().
absl::StatusOr<ChangedRows> MarkChanged(const ResolvedJob& job, const std::string& own, int64_t written,
                                        JobStore* store, absl::FunctionRef<void(const LedgerRow&)> changed);

// Whether the source has rows that the ledger does not have, by what FindChangedRows() found. What is behind the last
// known row is looked for there. Errors: of the source.
absl::StatusOr<bool> HasNewRows(const ResolvedJob& job, const NewRows& found);

// The rows of the job's source, whatever their vector: to look up single ones.
absl::StatusOr<std::unique_ptr<Source>> OpenAllRows(const ResolvedJob& job);

}  // namespace reembed

#endif  // REEMBED_TOOLS_CHANGED_ROWS_H_
