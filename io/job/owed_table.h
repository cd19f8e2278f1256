// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_OWED_TABLE_H_
#define REEMBED_IO_JOB_OWED_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/job/ledger_sql.h"

namespace reembed {

// The table `owed` of JOB/ledger.db, see ledger_format.md. Ledgers that no program after the first has written do not
// have it: then nothing is owed. Errors are those of LedgerConnection.

inline constexpr absl::string_view kOwedTable =
    "CREATE TABLE IF NOT EXISTS owed(sink TEXT NOT NULL, ordinal INTEGER NOT NULL, slot INTEGER NOT NULL,"
    " PRIMARY KEY(sink, ordinal, slot)) WITHOUT ROWID";

// As OwedRows::Owed.
absl::StatusOr<std::vector<int64_t>> ReadOwed(LedgerConnection* ledger, absl::string_view sink);

// How many rows a sink had that is built again; -1: it is not.
absl::StatusOr<int64_t> ReadOutdatedRows(LedgerConnection* ledger, absl::string_view sink);

// Whether `sink` may hold another vector of the row than that of its text, also of a row that is rejected.
absl::StatusOr<bool> IsRowOwed(LedgerConnection* ledger, absl::string_view sink, int64_t ordinal);

// How the selection of a job begins. Whether a run takes rows that have a vector, too, is no part of what a job is.
inline constexpr absl::string_view kEveryRow = "all rows";
inline constexpr absl::string_view kRowsWithoutVector = "rows without a vector";

// What follows: the conditions on rows.
absl::string_view ConditionOf(absl::string_view selection);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_OWED_TABLE_H_
