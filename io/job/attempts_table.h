// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_ATTEMPTS_TABLE_H_
#define REEMBED_IO_JOB_ATTEMPTS_TABLE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/job/ledger_sql.h"

namespace reembed {

// The table `attempts` of JOB/ledger.db, see ledger_format.md: how many runs have tried a row in vain, for each pair of
// row and sink that was ever rejected. Programs of before do not know it, and reject rows beside it. Errors are those
// of LedgerConnection.

// Makes it, and counts 1 for whatever was rejected without it.
absl::Status AddAttemptsTable(LedgerConnection* ledger);

// Whether it is there: not in ledgers that only programs of before have written.
absl::StatusOr<bool> HasAttemptsTable(LedgerConnection* ledger);

// Counts that run ?3 has rejected row ?1 for sink ?2; a run counts once, however often it says so.
inline constexpr absl::string_view kCountAttempt =
    "INSERT INTO attempts VALUES(?1, ?2, ?3, 1) ON CONFLICT(ordinal, sink) DO UPDATE"
    " SET attempts = attempts + (run <> excluded.run), run = excluded.run";

// Likewise for all rows whose text is rejected while they are not, as a run that was killed leaves them.
absl::Status CountAttemptsOfKilledRun(LedgerConnection* ledger, int64_t run);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_ATTEMPTS_TABLE_H_
