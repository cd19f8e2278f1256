// SPDX-License-Identifier: Apache-2.0
#include "io/job/owed_table.h"

#include "absl/strings/strip.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

absl::StatusOr<bool> HasTable(LedgerConnection* ledger) {
  ABSL_ASSIGN_OR_RETURN(const int64_t tables,
                        ledger->QueryInteger("SELECT count(*) FROM sqlite_master WHERE name = 'owed'"));
  return tables > 0;
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> ReadOwed(LedgerConnection* ledger, absl::string_view sink) {
  std::vector<int64_t> ordinals;
  ABSL_ASSIGN_OR_RETURN(const bool known, HasTable(ledger));
  if (!known) return ordinals;
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement query,
      ledger->Prepare(
          "SELECT DISTINCT ordinal FROM owed WHERE sink = ?1 AND ordinal >= 0 AND NOT EXISTS"
          " (SELECT 1 FROM rejects r WHERE r.ordinal = owed.ordinal AND r.sink IN ('', ?1)) ORDER BY ordinal"));
  query.BindText(1, sink);
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) ordinals.push_back(query.Integer(0));
  ABSL_RETURN_IF_ERROR(row.status());
  return ordinals;
}

absl::StatusOr<int64_t> ReadOutdatedRows(LedgerConnection* ledger, absl::string_view sink) {
  ABSL_ASSIGN_OR_RETURN(const bool known, HasTable(ledger));
  if (!known) return -1;
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query,
                        ledger->Prepare("SELECT slot FROM owed WHERE sink = ?1 AND ordinal = -1"));
  query.BindText(1, sink);
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  return row ? query.Integer(0) : -1;
}

absl::StatusOr<bool> IsRowOwed(LedgerConnection* ledger, absl::string_view sink, int64_t ordinal) {
  absl::StatusOr<bool> known = HasTable(ledger);
  if (!known.ok() || !*known) return known;
  ABSL_ASSIGN_OR_RETURN(LedgerStatement query, ledger->Prepare("SELECT 1 FROM owed WHERE sink = ?1 AND ordinal = ?2"));
  query.BindText(1, sink);
  query.Bind(2, ordinal);
  return query.Step();
}

absl::string_view ConditionOf(absl::string_view selection) {
  if (!absl::ConsumePrefix(&selection, kEveryRow)) absl::ConsumePrefix(&selection, kRowsWithoutVector);
  return selection;
}

}  // namespace reembed
