// SPDX-License-Identifier: Apache-2.0
#include "io/job/attempts_table.h"

#include "engine/status_macros.h"

namespace reembed {

absl::Status AddAttemptsTable(LedgerConnection* ledger) {
  return ledger->Execute(
      "CREATE TABLE IF NOT EXISTS attempts(ordinal INTEGER NOT NULL, sink TEXT NOT NULL, run INTEGER NOT NULL,"
      " attempts INTEGER NOT NULL, PRIMARY KEY(ordinal, sink)) WITHOUT ROWID;"
      "INSERT OR IGNORE INTO attempts SELECT ordinal, sink, 0, 1 FROM rejects");
}

absl::StatusOr<bool> HasAttemptsTable(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t tables,
                        ledger->QueryInteger("SELECT count(*) FROM sqlite_master WHERE name = 'attempts'"));
  return tables > 0;
}

absl::Status CountAttemptsOfKilledRun(LedgerConnection* ledger, int64_t run) {
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement count,
      ledger->Prepare("INSERT INTO attempts SELECT r.ordinal, '', ?1, 1"
                      " FROM rows r CROSS JOIN rejected_texts t ON t.slot = r.slot"
                      " WHERE NOT EXISTS (SELECT 1 FROM rejects j WHERE j.ordinal = r.ordinal AND j.sink = '')"
                      " ON CONFLICT(ordinal, sink) DO UPDATE"
                      " SET attempts = attempts + (run <> excluded.run), run = excluded.run"));
  count.Bind(1, run);
  return count.Run();
}

}  // namespace reembed
