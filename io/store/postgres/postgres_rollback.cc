// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_rollback.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_error.h"
#include "io/store/postgres/postgres_index.h"

namespace reembed {

bool PostgresCellHolds(const PostgresVectorColumn& column, absl::string_view cell, absl::Span<const float> written) {
  // Its binary form begins with a version. Source: jsonb_send in PostgreSQL's jsonb.c.
  if (column.base_type == "jsonb" && !cell.empty()) cell.remove_prefix(1);
  const int64_t dim = DecodePostgresVector(column.form, cell, {});
  if (dim < 1 || dim > static_cast<int64_t>(written.size())) return false;
  std::vector<float> rounded(static_cast<size_t>(dim));
  if (!NarrowVector(written, absl::MakeSpan(rounded)).ok()) return false;
  RoundLikePostgres(column, absl::MakeSpan(rounded));
  std::vector<float> held(rounded.size());
  return DecodePostgresVector(column.form, cell, absl::MakeSpan(held)) == dim &&
         std::memcmp(held.data(), rounded.data(), held.size() * sizeof(float)) == 0;
}

absl::StatusOr<std::string> PostgresNobodyRefersSql(PostgresConnection* connection, const PostgresTable& table) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows conditions,
      connection->Query(
          "SELECT format('NOT EXISTS (SELECT 1 FROM %s AS x WHERE %s)', c.conrelid::regclass, (SELECT "
          "string_agg(format('x.%I = t.%I', f.attname, o.attname), ' AND ') FROM unnest(c.conkey, c.confkey) AS k(f, "
          "o) "
          "JOIN pg_catalog.pg_attribute f ON f.attrelid = c.conrelid AND f.attnum = k.f JOIN pg_catalog.pg_attribute o "
          "ON "
          "o.attrelid = c.confrelid AND o.attnum = k.o)) FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND "
          "c.confrelid = $1::regclass ORDER BY 1",
          {PostgresValue::Text(table.Sql())}));
  std::string sql = "true";
  for (int row = 0; row < conditions.size(); ++row) absl::StrAppend(&sql, " AND ", conditions.Text(row, 0));
  return sql;
}

absl::Status PostgresRowTable::Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) {
  return connection()->Persist([&]() -> absl::Status {
    std::fill(now.begin(), now.end(), RowNow());
    ABSL_RETURN_IF_ERROR(connection()->Begin());
    return Look(rows, now);
  });
}

absl::Status PostgresRowTable::Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) {
  absl::Status status = Change(changes, outcomes);
  if (status.ok()) status = connection()->Run("COMMIT");
  if (status.ok()) return status;
  RowOutcome all{.kind = RowOutcome::Kind::kAgain};
  if (!absl::IsUnavailable(status)) {
    if (PostgresRefusalOf(connection()->last_code()) == PostgresRefusal::kNo) return status;
    all = {.kind = RowOutcome::Kind::kTogether, .why = std::string(status.message())};
  }
  if (absl::Status undone = connection()->Run("ROLLBACK"); !undone.ok() && !absl::IsUnavailable(undone)) return undone;
  std::fill(outcomes.begin(), outcomes.end(), all);
  return absl::OkStatus();
}

absl::Status PostgresRowTable::ChangeRows(const std::string& sql, absl::Span<const PostgresValue> values,
                                          absl::Span<const size_t> places, absl::string_view why_not,
                                          absl::Span<RowOutcome> outcomes) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRows changed, connection()->Query(sql, values));
  for (const size_t place : places) outcomes[place] = {RowOutcome::Kind::kRefused, std::string(why_not)};
  for (int i = 0; i < changed.size(); ++i) outcomes[places[static_cast<size_t>(changed.Int(i, 0) - 1)]] = RowOutcome();
  return absl::OkStatus();
}

absl::Status DropPostgresUnlessUsed(PostgresConnection* connection, const std::string& table, const std::string& used,
                                    const std::string& drop) {
  // Others must not queue behind a lock that we only wait for.
  absl::Status dropped = connection->Begin();
  if (dropped.ok()) {
    dropped =
        connection->Run(absl::StrCat("SET LOCAL lock_timeout = '5s'; LOCK TABLE ", table, " IN ACCESS EXCLUSIVE MODE"));
  }
  if (dropped.ok()) {
    const absl::StatusOr<PostgresRows> found = connection->Query(used);
    dropped = found.status();
    if (found.ok() && found->size() > 0) dropped = absl::FailedPreconditionError("there is something in it");
  }
  if (dropped.ok()) dropped = connection->Run(drop);
  if (dropped.ok()) dropped = connection->Run("COMMIT");
  if (!dropped.ok()) connection->Run("ROLLBACK").IgnoreError();  // the first failure is the one to tell
  return dropped;
}

void TakePostgresTableAway(const PostgresTarget& target, RollbackReport* report) {
  const std::string table = target.table->Sql();
  const std::string drop = absl::StrCat("DROP TABLE ", table);
  const absl::Status dropped =
      DropPostgresUnlessUsed(target.connection.get(), table, absl::StrCat("SELECT 1 FROM ", table, " LIMIT 1"), drop);
  report->notes.push_back(dropped.ok()
                              ? absl::StrCat("took away the table ", target.table->name, ", which the job had made")
                              : absl::StrCat("the table ", target.table->name, " stays, which the job had made: ",
                                             std::string(dropped.message()), "; ", drop, " if nobody needs it"));
}

absl::Status SayPostgresIndexes(const PostgresTarget& target, RollbackReport* report) {
  if (!target.table.has_value()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(target.connection->Persist([&] { return BuildDroppedPostgresIndexes(target); }));
  if (target.asked.index == "none") return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> indexes, PostgresVectorIndexes(target));
  if (!indexes.empty()) {
    report->notes.push_back(
        absl::StrCat("the index ", absl::StrJoin(indexes, ", "), " stays, and has what the column holds now"));
  }
  return absl::OkStatus();
}

}  // namespace reembed
