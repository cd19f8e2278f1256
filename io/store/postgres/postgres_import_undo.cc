// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_import_undo.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/rollback.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_rollback.h"

namespace reembed {
namespace {

constexpr absl::string_view kSchemaNote = "schema";
constexpr absl::string_view kIdsNote = "ids";
constexpr absl::string_view kDroppedNote = "dropped";
constexpr absl::string_view kMade = "made";

// How OldRow::content begins: the vector's cell follows, or it was NULL.
constexpr char kNull = 'n';
constexpr char kCell = 'c';

std::string ContentOf(const PostgresRows& row, int column) {
  if (row.IsNull(0, column)) return std::string(1, kNull);
  return absl::StrCat(absl::string_view(&kCell, 1), row.Bytes(0, column));
}

template <typename Rows, typename TextOf>
std::string TextArray(const Rows& rows, TextOf text_of) {
  std::string array = PostgresArrayHead(kPostgresTextOid, rows.size());
  for (const auto& row : rows) {
    const std::string& text = text_of(row);
    AppendInt32(static_cast<int32_t>(text.size()), &array);
    array.append(text);
  }
  return array;
}

// Rows of keys that the statement knows as $1 with their ids, those of the target $2 and the source $3.
std::string KnownSql(const std::string& ids) {
  return absl::StrCat(" FROM unnest($1::text[]) WITH ORDINALITY AS s(k, n) JOIN ", ids,
                      " AS i ON i.target = $2 AND i.source = $3 AND i.old_id = s.k");
}

std::string JoinSql(const PostgresTable& table) {
  return absl::StrCat(" JOIN ", table.Sql(), " AS t ON t.", table.KeySql(),
                      " = i.new_id::", table.Find(table.key)->type);
}

std::string IdsSql(const PostgresTable& table) {
  return absl::StrCat(QuotePostgresName(table.schema), ".", kPostgresIdsTable);
}

size_t IndexOf(const PostgresRows& row) {
  return static_cast<size_t>(ReadInt32(row.Bytes(0, 0).substr(sizeof(uint32_t)))) - 1;
}

}  // namespace

std::string PostgresRowHashSql(const PostgresTable& table, const PostgresVectorColumn& vector) {
  std::vector<std::string> columns;
  for (const PostgresTable::Column& column : table.columns) {
    if (column.name != vector.name) columns.push_back(absl::StrCat("t.", QuotePostgresName(column.name)));
  }
  return absl::StrCat(
      "(SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.jsonb_object_agg(e.key, "
      "e.value)::text, 'UTF8')), 'hex') FROM (SELECT ",
      absl::StrJoin(columns, ", "),
      ") AS x, pg_catalog.jsonb_each(pg_catalog.to_jsonb(x)) AS e WHERE e.value <> 'null')");
}

absl::Status LogPostgresBrought(absl::Span<RowToWrite* const> rows, const std::string& ids, PostgresTarget* target,
                                UndoLog* log) {
  if (log == nullptr || rows.empty()) return absl::OkStatus();
  const PostgresTable& table = *target->table;
  const std::string keys = TextArray(rows, [](const RowToWrite* row) -> const std::string& { return *row->key; });
  const std::string sql = absl::StrCat("SELECT s.n, t.", table.KeySql(), " IS NOT NULL, t.",
                                       QuotePostgresName(target->vector->name), KnownSql(ids), " LEFT", JoinSql(table));
  enum class Place { kNew, kThere, kGone };
  std::vector<Place> places(rows.size());
  std::vector<std::string> contents(rows.size());
  const std::vector<PostgresValue> values = {PostgresValue::Binary(keys), PostgresValue::Text(table.name),
                                             PostgresValue::Text(target->asked.origin)};
  ABSL_RETURN_IF_ERROR(target->connection->Persist([&] {
    places.assign(rows.size(), Place::kNew);
    return target->connection->Stream(sql, values, [&](const PostgresRows& row) {
      const size_t i = IndexOf(row);
      places[i] = row.Bytes(0, 1)[0] != 0 ? Place::kThere : Place::kGone;
      contents[i] = ContentOf(row, 2);
      return true;
    });
  }));
  return LogOldRows(rows, log, [&](size_t row, std::optional<absl::string_view>* content) -> absl::StatusOr<bool> {
    if (places[row] == Place::kThere) *content = contents[row];
    return places[row] != Place::kGone;
  });
}

absl::Status LogPostgresSchemaMade(UndoLog* log) { return log->LogNote(kSchemaNote, kMade); }
absl::Status LogPostgresIdsMade(UndoLog* log) { return log->LogNote(kIdsNote, kMade); }

absl::Status LogPostgresTablesDropped(absl::Span<const std::string> tables, UndoLog* log) {
  return log->LogNote(kDroppedNote, absl::StrJoin(tables, ", "));
}

namespace {

absl::StatusOr<bool> IsMade(absl::string_view note, UndoReader* log) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> found, log->FindNote(note));
  return found.has_value();
}

// What a rollback cannot undo.
absl::Status SayWhatStays(const PostgresTarget& target, UndoReader* log, RollbackReport* report) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> dropped, log->FindNote(kDroppedNote));
  if (dropped.has_value()) {
    report->notes.push_back(
        absl::StrCat("the job has dropped ", *dropped,
                     " to make them anew: what was in them cannot be brought back by a rollback; restore a backup"));
  }
  ABSL_ASSIGN_OR_RETURN(const bool schema, IsMade(kSchemaNote, log));
  if (schema && target.table.has_value()) {
    report->notes.push_back(
        absl::StrCat("the table ", target.table->name, " stays, which the job had made with what else is in ",
                     target.asked.schema_file, ": DROP TABLE ", target.table->Sql(), " if nobody needs it"));
  }
  return SayPostgresIndexes(target, report);
}

class ImportRows final : public PostgresRowTable {
 public:
  explicit ImportRows(PostgresTarget* target) : PostgresRowTable(target) {}

  // False where nothing that the job brought can be there any more. Errors also: kFailedPrecondition (the column of the
  // vectors is gone).
  absl::StatusOr<bool> Prepare();
  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override {
    return now.content[0] == kCell &&
           PostgresCellHolds(*target()->vector, absl::string_view(now.content).substr(1), written);
  }
  absl::Status TakeAway(UndoReader* log, RollbackReport* report) override;

 private:
  absl::Status Look(absl::Span<const OldRow> rows, absl::Span<RowNow> now) override;
  absl::Status Change(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override;
  absl::Status Restore(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                       absl::Span<RowOutcome> outcomes);
  absl::Status Remove(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                      absl::Span<RowOutcome> outcomes);
  absl::Status ForgetIds();

  std::vector<PostgresValue> Values(const std::string& keys) const {
    return {PostgresValue::Binary(keys), PostgresValue::Text(table().name),
            PostgresValue::Text(target()->asked.origin)};
  }

  std::string ids_, column_, column_type_, same_, nobody_refers_;  // SQL
  int32_t column_oid_ = 0;
  std::vector<std::string> forgotten_;  // keys of rows that the job brought and that are gone
};

std::string KeysOf(absl::Span<const RowChange> changes, const std::vector<size_t>& places) {
  std::vector<std::string> texts;
  texts.reserve(places.size());
  for (const size_t place : places) texts.push_back(KeyText(changes[place].key));
  return TextArray(texts, [](const std::string& text) -> const std::string& { return text; });
}

absl::StatusOr<bool> ImportRows::Prepare() {
  ids_ = IdsSql(table());
  column_ = QuotePostgresName(target()->vector->name);
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows facts,
      connection()->Query(
          "SELECT pg_catalog.to_regclass($1) IS NOT NULL, EXISTS (SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid "
          "= pg_catalog.to_regclass($1) AND attname = 'row_hash' AND NOT attisdropped), a.atttypid, "
          // Of -1 a type has no length, which would cut values short.
          "pg_catalog.format_type(a.atttypid, -1) FROM pg_catalog.pg_attribute a WHERE a.attrelid = $2::regclass AND "
          "a.attname = $3",
          {PostgresValue::Text(ids_), PostgresValue::Text(table().Sql()),
           PostgresValue::Text(target()->vector->name)}));
  if (facts.size() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the column ", target()->vector->name, " is gone from the table"));
  }
  column_oid_ = static_cast<int32_t>(facts.Int(0, 2));
  column_type_ = facts.Text(0, 3);
  same_ = facts.Bool(0, 1)
              ? absl::StrCat("coalesce(i.row_hash = ", PostgresRowHashSql(table(), *target()->vector), ", false)")
              : "false";
  ABSL_ASSIGN_OR_RETURN(nobody_refers_, PostgresNobodyRefersSql(connection(), table()));
  return facts.Bool(0, 0);
}

absl::Status ImportRows::Look(absl::Span<const OldRow> rows, absl::Span<RowNow> now) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::optional<absl::string_view>& old = rows[i].content;
    if (old.has_value() && *old != absl::string_view(&kNull, 1) && (old->empty() || (*old)[0] != kCell)) {
      return absl::DataLossError("undo.db: a row's old vector is damaged");
    }
    now[i].was_there = old.has_value();
    texts.push_back(KeyText(rows[i].key));
  }
  const std::string keys = TextArray(texts, [](const std::string& text) -> const std::string& { return text; });
  // Nobody changes a row between its being looked at and its being put back.
  ABSL_RETURN_IF_ERROR(
      connection()
          ->Query(absl::StrCat("SELECT", KnownSql(ids_), JoinSql(table()), " FOR UPDATE OF t"), Values(keys))
          .status());
  forgotten_.clear();
  return connection()->Stream(absl::StrCat("SELECT s.n, t.", table().KeySql(), " IS NOT NULL, ", same_, ", t.", column_,
                                           KnownSql(ids_), " LEFT", JoinSql(table())),
                              Values(keys), [&](const PostgresRows& found) {
                                const size_t i = IndexOf(found);
                                RowNow& row = now[i];
                                row.there = found.Bytes(0, 1)[0] != 0;
                                row.content = ContentOf(found, 3);
                                if (found.Bytes(0, 2)[0] == 0)
                                  row.stays = "the job brought this row, and somebody has changed it since";
                                if (!row.there && !row.was_there) {
                                  // Its id says that it was brought; nobody but the log would know of it.
                                  row.was_there = true;
                                  forgotten_.push_back(texts[i]);
                                }
                                return true;
                              });
}

absl::Status ImportRows::Change(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) {
  std::vector<size_t> restored, removed;
  for (size_t i = 0; i < changes.size(); ++i) (changes[i].content.has_value() ? restored : removed).push_back(i);
  ABSL_RETURN_IF_ERROR(Restore(changes, restored, outcomes));
  ABSL_RETURN_IF_ERROR(Remove(changes, removed, outcomes));
  return ForgetIds();
}

absl::Status ImportRows::Restore(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                                 absl::Span<RowOutcome> outcomes) {
  if (places.empty()) return absl::OkStatus();
  const std::string keys = KeysOf(changes, places);
  std::string cells = PostgresArrayHead(column_oid_, places.size());
  for (const size_t place : places) {
    const absl::string_view cell = *changes[place].content;
    const bool is_null = cell[0] == kNull;
    AppendInt32(is_null ? -1 : static_cast<int32_t>(cell.size() - 1), &cells);
    absl::StrAppend(&cells, cell.substr(1));
  }
  std::vector<PostgresValue> values = Values(keys);
  values.push_back(PostgresValue::Binary(cells));
  return ChangeRows(absl::StrCat("UPDATE ", table().Sql(), " AS t SET ", column_, " = s.v FROM unnest($1::text[], $4::",
                                 column_type_, "[]) WITH ORDINALITY AS s(k, v, n) JOIN ", ids_,
                                 " AS i ON i.target = $2 AND i.source = $3 AND i.old_id = s.k WHERE t.",
                                 table().KeySql(), " = i.new_id::", table().Find(table().key)->type, " RETURNING s.n"),
                    values, places, "a trigger or policy of the table ignored the change", outcomes);
}

absl::Status ImportRows::Remove(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                                absl::Span<RowOutcome> outcomes) {
  if (places.empty()) return absl::OkStatus();
  const std::string keys = KeysOf(changes, places);
  return ChangeRows(
      absl::StrCat("WITH gone AS (DELETE FROM ", table().Sql(),
                   " AS t USING unnest($1::text[]) WITH ORDINALITY AS s(k, n) JOIN ", ids_,
                   " AS i ON i.target = $2 AND i.source = $3 AND i.old_id = s.k WHERE t.", table().KeySql(),
                   " = i.new_id::", table().Find(table().key)->type, " AND ", nobody_refers_,
                   " RETURNING s.k, s.n), named AS (DELETE FROM ", ids_,
                   " AS i USING gone WHERE i.target = $2 AND i.source = $3 AND i.old_id = gone.k) SELECT n FROM gone"),
      Values(keys), places, "the job brought this row, and rows of other tables refer to it, or a trigger keeps it",
      outcomes);
}

absl::Status ImportRows::ForgetIds() {
  if (forgotten_.empty()) return absl::OkStatus();
  const std::string keys = TextArray(forgotten_, [](const std::string& text) -> const std::string& { return text; });
  return connection()
      ->Query(absl::StrCat("DELETE FROM ", ids_, " WHERE target = $2 AND source = $3 AND old_id = ANY ($1::text[])"),
              Values(keys))
      .status();
}

// The table of ids, if the job made it and nothing is in it.
absl::Status ImportRows::TakeAway(UndoReader* log, RollbackReport* report) {
  const absl::StatusOr<bool> made = IsMade(kIdsNote, log);
  if (!made.ok() || !*made) return made.status();
  const absl::Status dropped = DropPostgresUnlessUsed(
      connection(), ids_, absl::StrCat("SELECT 1 FROM ", ids_, " LIMIT 1"), absl::StrCat("DROP TABLE ", ids_));
  report->notes.push_back(dropped.ok()
                              ? absl::StrCat("took away the table ", kPostgresIdsTable, ", which the job had made")
                              : absl::StrCat("the table ", kPostgresIdsTable,
                                             " stays, which the job had made: ", std::string(dropped.message())));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Overwriting> PostgresImportOverwriting(const Location& location, const Model& model) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTarget target, OpenPostgresTarget(location, model, absl::ZeroDuration()));
  const Overwriting nothing{.kind = Overwriting::Kind::kNothing};
  if (!target.table.has_value()) return nothing;
  const PostgresTable& table = *target.table;
  const std::string ids = IdsSql(table);
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows there,
      target.connection->Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL", {PostgresValue::Text(ids)}));
  if (!there.Bool(0, 0)) return nothing;
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows brought,
      target.connection->Query(absl::StrCat("SELECT count(*) FROM ", ids, " AS i", JoinSql(table),
                                            " WHERE i.target = $1 AND i.source = $2 AND t.",
                                            QuotePostgresName(target.vector->name), " IS NOT NULL"),
                               {PostgresValue::Text(table.name), PostgresValue::Text(target.asked.origin)}));
  if (brought.Int(0, 0) == 0) return nothing;
  return Overwriting{.rows = brought.Int(0, 0)};
}

absl::StatusOr<RollbackReport> RollBackPostgresImport(const Location& location, UndoReader* old_rows,
                                                      const PostgresImportOptions& options) {
  ABSL_ASSIGN_OR_RETURN(PostgresTarget target, OpenPostgresTarget(location, {}, options.patience));
  RollbackReport report;
  ABSL_RETURN_IF_ERROR(SayWhatStays(target, old_rows, &report));
  if (!target.table.has_value()) {
    ABSL_RETURN_IF_ERROR(
        CountRowsGone(old_rows, absl::StrCat("the table ", target.asked.table, " is not there any more"), &report));
    return report;
  }
  ImportRows rows(&target);
  const absl::StatusOr<bool> has_ids = rows.Prepare();
  if (absl::IsFailedPrecondition(has_ids.status())) {
    ABSL_RETURN_IF_ERROR(LeaveRows(old_rows, has_ids.status().message(), &report));
    return report;
  }
  ABSL_RETURN_IF_ERROR(has_ids.status());
  if (!*has_ids) {
    ABSL_RETURN_IF_ERROR(CountRowsGone(
        old_rows, absl::StrCat("the table ", kPostgresIdsTable, ", which says what was brought, is not there any more"),
        &report));
    return report;
  }
  return RollBackRows(absl::StrCat(target.asked.address.name, ": table `", target.table->name, "`"), &rows, old_rows,
                      std::move(report));
}

}  // namespace reembed
