// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_import_undo.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_rollback.h"

namespace reembed {
namespace {

constexpr absl::string_view kSchemaNote = "schema";
constexpr absl::string_view kIdsNote = "ids";
constexpr absl::string_view kDroppedNote = "dropped";
constexpr absl::string_view kMade = "made";

constexpr size_t kPageRows = 512;  // of a rollback: one transaction

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

absl::Status KeepPostgresBrought(absl::Span<const PostgresRowToBring> rows, const std::string& ids,
                                 PostgresTarget* target, UndoLog* log) {
  const PostgresTable& table = *target->table;
  const std::string keys =
      TextArray(rows, [](const PostgresRowToBring& row) -> const std::string& { return *row.key_text; });
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
  size_t next = 0;
  return log->Keep([&]() -> absl::StatusOr<std::optional<OldRow>> {
    while (next < rows.size() && places[next] == Place::kGone) ++next;
    if (next == rows.size()) return std::nullopt;
    OldRow old{.ordinal = rows[next].ordinal, .key = rows[next].key};
    if (places[next] == Place::kThere) old.content = contents[next];
    ++next;
    return old;
  });
}

absl::Status KeepPostgresSchemaMade(UndoLog* log) { return log->KeepNote(kSchemaNote, kMade); }
absl::Status KeepPostgresIdsMade(UndoLog* log) { return log->KeepNote(kIdsNote, kMade); }

absl::Status KeepPostgresTablesDropped(absl::Span<const std::string> tables, UndoLog* log) {
  return log->KeepNote(kDroppedNote, absl::StrJoin(tables, ", "));
}

namespace {

struct Row : PostgresOldRow {
  std::optional<std::string> old;  // nullopt: the job brought the row
  // What is there now.
  bool known = false, there = false;
  bool same = false;  // nobody has changed it since it was brought
  std::string now;    // as `old`
};

class ImportRollback {
 public:
  ImportRollback(PostgresTarget target, UndoReader* old_rows) : target_(std::move(target)), old_rows_(old_rows) {}

  absl::StatusOr<RollbackReport> Run();

 private:
  absl::StatusOr<bool> IsMade(absl::string_view note) const;
  absl::Status SayWhatStays();
  absl::Status Prepare(bool* has_ids);
  absl::StatusOr<std::vector<Row>> LoadPage();
  absl::Status CountUnchanged();
  absl::Status PutBackTogether(absl::Span<Row> rows, RollbackReport* done);
  absl::Status Read(absl::Span<Row> rows);
  absl::StatusOr<bool> HoldsWhatWasWritten(const Row& row);
  absl::Status Sort(Row* row, RollbackReport* done);
  absl::Status Restore(RollbackReport* done);
  absl::Status Remove(RollbackReport* done);
  absl::Status ForgetIds(const std::vector<PostgresOldRow*>& rows, RollbackReport* done);
  absl::Status TakeIdsAway();

  PostgresConnection* connection() { return target_.connection.get(); }
  const PostgresTable& table() const { return *target_.table; }
  std::vector<PostgresValue> Values(const std::string& keys) const {
    return {PostgresValue::Binary(keys), PostgresValue::Text(table().name), PostgresValue::Text(target_.asked.origin)};
  }
  template <typename Rows>
  static std::string KeysOf(const Rows& rows) {
    return TextArray(rows, [](const PostgresOldRow* row) -> const std::string& { return row->key_text; });
  }

  PostgresTarget target_;
  UndoReader* const old_rows_;
  std::string ids_, column_, column_type_, same_, nobody_refers_;  // SQL
  int32_t column_oid_ = 0;
  std::vector<PostgresOldRow*> to_restore_, to_remove_, to_forget_;  // of one transaction
  std::vector<const std::string*> old_cells_;                        // of to_restore_
  RollbackReport report_;
};

absl::StatusOr<bool> ImportRollback::IsMade(absl::string_view note) const {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> found, old_rows_->FindNote(note));
  return found.has_value();
}

absl::Status ImportRollback::SayWhatStays() {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> dropped, old_rows_->FindNote(kDroppedNote));
  if (dropped.has_value()) {
    report_.notes.push_back(absl::StrCat("--force-recreate has dropped ", *dropped,
                                         ": what was in them cannot be brought back by a rollback; restore a backup"));
  }
  ABSL_ASSIGN_OR_RETURN(const bool schema, IsMade(kSchemaNote));
  if (schema && target_.table.has_value()) {
    report_.notes.push_back(
        absl::StrCat("the table ", table().name, " stays, which the job had made with what else is in ",
                     target_.asked.schema_file, ": DROP TABLE ", table().Sql(), " if nobody needs it"));
  }
  return SayPostgresIndexes(target_, &report_);
}

// `*has_ids`: false where nothing that the job brought can be there any more.
absl::Status ImportRollback::Prepare(bool* has_ids) {
  ids_ = IdsSql(table());
  column_ = QuotePostgresName(target_.vector->name);
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows facts,
      connection()->Query(
          "SELECT pg_catalog.to_regclass($1) IS NOT NULL, EXISTS (SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid "
          "= "
          "pg_catalog.to_regclass($1) AND attname = 'row_hash' AND NOT attisdropped), a.atttypid, "
          // Of -1 a type has no length, which would cut values short.
          "pg_catalog.format_type(a.atttypid, -1) FROM pg_catalog.pg_attribute a WHERE a.attrelid = $2::regclass AND "
          "a.attname = $3",
          {PostgresValue::Text(ids_), PostgresValue::Text(table().Sql()), PostgresValue::Text(target_.vector->name)}));
  if (facts.size() == 0) {
    return absl::FailedPreconditionError(
        table().Message(absl::StrCat("the column `", target_.vector->name, "` is gone; nothing can be put back")));
  }
  *has_ids = facts.Bool(0, 0);
  column_oid_ = static_cast<int32_t>(facts.Int(0, 2));
  column_type_ = facts.Text(0, 3);
  same_ = facts.Bool(0, 1)
              ? absl::StrCat("coalesce(i.row_hash = ", PostgresRowHashSql(table(), *target_.vector), ", false)")
              : "false";
  ABSL_ASSIGN_OR_RETURN(nobody_refers_, PostgresNobodyRefersSql(connection(), table()));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Row>> ImportRollback::LoadPage() {
  std::vector<Row> page;
  while (page.size() < kPageRows) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<OldRow> logged, old_rows_->Next());
    if (!logged.has_value()) break;
    Row row;
    row.ordinal = logged->ordinal;
    row.key = Own(logged->key);
    row.key_text = KeyText(logged->key);
    if (logged->content.has_value()) {
      row.old = std::string(*logged->content);
      if (*row.old != absl::string_view(&kNull, 1) && (row.old->empty() || (*row.old)[0] != kCell)) {
        return absl::DataLossError("undo.db: a row's old vector is damaged");
      }
    }
    page.push_back(std::move(row));
  }
  return page;
}

absl::Status ImportRollback::CountUnchanged() {
  while (true) {
    const absl::StatusOr<std::optional<OldRow>> row = old_rows_->Next();
    if (!row.ok() || !row->has_value()) return row.status();
    ++((*row)->content.has_value() ? report_.rows_gone : report_.rows_unchanged);
  }
}

absl::Status ImportRollback::Read(absl::Span<Row> rows) {
  for (Row& row : rows) row.known = row.there = row.same = false;
  const std::string keys = TextArray(rows, [](const Row& row) -> const std::string& { return row.key_text; });
  // Nobody changes a row between its being looked at and its being put back.
  ABSL_RETURN_IF_ERROR(
      connection()
          ->Query(absl::StrCat("SELECT", KnownSql(ids_), JoinSql(table()), " FOR UPDATE OF t"), Values(keys))
          .status());
  return connection()->Stream(absl::StrCat("SELECT s.n, t.", table().KeySql(), " IS NOT NULL, ", same_, ", t.", column_,
                                           KnownSql(ids_), " LEFT", JoinSql(table())),
                              Values(keys), [&](const PostgresRows& found) {
                                Row& row = rows[IndexOf(found)];
                                row.known = true;
                                row.there = found.Bytes(0, 1)[0] != 0;
                                row.same = found.Bytes(0, 2)[0] != 0;
                                row.now = ContentOf(found, 3);
                                return true;
                              });
}

// Where nobody knows, a vector is put back, but no row is removed.
absl::StatusOr<bool> ImportRollback::HoldsWhatWasWritten(const Row& row) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<absl::Span<const float>> written, old_rows_->WrittenVector(row.ordinal));
  if (!written.has_value()) return row.old.has_value();
  return row.now[0] == kCell && PostgresCellHolds(*target_.vector, absl::string_view(row.now).substr(1), *written);
}

// Decides what is to be done with it.
absl::Status ImportRollback::Sort(Row* row, RollbackReport* done) {
  const bool as_before = row->old.has_value() ? row->there && row->now == *row->old : !row->known;
  if (as_before) {
    ++(row->sent ? done->rows_restored : done->rows_unchanged);
    return absl::OkStatus();
  }
  if (!row->there) {
    ++done->rows_gone;
    if (row->known && !row->old.has_value()) to_forget_.push_back(row);
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(const bool ours, HoldsWhatWasWritten(*row));
  if (!ours) {
    done->Leave(ViewOf(row->key), "its vector is not the one that the job wrote");
  } else if (row->old.has_value()) {
    to_restore_.push_back(row);
    old_cells_.push_back(&*row->old);
  } else if (row->same) {
    to_remove_.push_back(row);
  } else {
    done->Leave(ViewOf(row->key), "the job brought this row, and somebody has changed it since");
  }
  return absl::OkStatus();
}

absl::Status ImportRollback::Restore(RollbackReport* done) {
  if (to_restore_.empty()) return absl::OkStatus();
  const std::string keys = KeysOf(to_restore_);
  std::string cells = PostgresArrayHead(column_oid_, old_cells_.size());
  for (const std::string* const cell : old_cells_) {
    const bool is_null = (*cell)[0] == kNull;
    AppendInt32(is_null ? -1 : static_cast<int32_t>(cell->size() - 1), &cells);
    cells.append(*cell, 1);
  }
  std::vector<PostgresValue> values = Values(keys);
  values.push_back(PostgresValue::Binary(cells));
  return ChangePostgresRows(
      connection(),
      absl::StrCat("UPDATE ", table().Sql(), " AS t SET ", column_, " = s.v FROM unnest($1::text[], $4::", column_type_,
                   "[]) WITH ORDINALITY AS s(k, v, n) JOIN ", ids_,
                   " AS i ON i.target = $2 AND i.source = $3 AND i.old_id = s.k WHERE t.", table().KeySql(),
                   " = i.new_id::", table().Find(table().key)->type, " RETURNING s.n"),
      values, to_restore_, "a trigger or policy of the table ignored the change", done);
}

absl::Status ImportRollback::Remove(RollbackReport* done) {
  if (to_remove_.empty()) return absl::OkStatus();
  const std::string keys = KeysOf(to_remove_);
  return ChangePostgresRows(
      connection(),
      absl::StrCat("WITH gone AS (DELETE FROM ", table().Sql(),
                   " AS t USING unnest($1::text[]) WITH ORDINALITY AS s(k, n) JOIN ", ids_,
                   " AS i ON i.target = $2 AND i.source = $3 AND i.old_id = s.k WHERE t.", table().KeySql(),
                   " = i.new_id::", table().Find(table().key)->type, " AND ", nobody_refers_,
                   " RETURNING s.k, s.n), named AS (DELETE FROM ", ids_,
                   " AS i USING gone WHERE i.target = $2 AND i.source = $3 AND i.old_id = gone.k) SELECT n FROM gone"),
      Values(keys), to_remove_, "the job brought this row, and rows of other tables refer to it, or a trigger keeps it",
      done);
}

// Of rows that the job brought and that are gone: without it nobody would know of them.
absl::Status ImportRollback::ForgetIds(const std::vector<PostgresOldRow*>& rows, RollbackReport*) {
  if (rows.empty()) return absl::OkStatus();
  const std::string keys = KeysOf(rows);
  return connection()
      ->Query(absl::StrCat("DELETE FROM ", ids_, " WHERE target = $2 AND source = $3 AND old_id = ANY ($1::text[])"),
              Values(keys))
      .status();
}

absl::Status ImportRollback::PutBackTogether(absl::Span<Row> rows, RollbackReport* done) {
  to_restore_.clear();
  to_remove_.clear();
  to_forget_.clear();
  old_cells_.clear();
  ABSL_RETURN_IF_ERROR(Read(rows));
  for (Row& row : rows) {
    ABSL_RETURN_IF_ERROR(Sort(&row, done));
  }
  ABSL_RETURN_IF_ERROR(Restore(done));
  ABSL_RETURN_IF_ERROR(Remove(done));
  return ForgetIds(to_forget_, done);
}

// The table of ids, if the job made it and nothing is in it.
absl::Status ImportRollback::TakeIdsAway() {
  const absl::StatusOr<bool> made = IsMade(kIdsNote);
  if (!made.ok() || !*made) return made.status();
  const absl::Status dropped = DropPostgresUnlessUsed(
      connection(), ids_, absl::StrCat("SELECT 1 FROM ", ids_, " LIMIT 1"), absl::StrCat("DROP TABLE ", ids_));
  report_.notes.push_back(dropped.ok()
                              ? absl::StrCat("took away the table ", kPostgresIdsTable, ", which the job had made")
                              : absl::StrCat("the table ", kPostgresIdsTable,
                                             " stays, which the job had made: ", std::string(dropped.message())));
  return absl::OkStatus();
}

absl::StatusOr<RollbackReport> ImportRollback::Run() {
  ABSL_RETURN_IF_ERROR(SayWhatStays());
  bool has_ids = false;
  if (target_.table.has_value()) {
    ABSL_RETURN_IF_ERROR(Prepare(&has_ids));
  }
  if (!has_ids) {
    ABSL_RETURN_IF_ERROR(CountUnchanged());
    return std::move(report_);
  }
  while (true) {
    ABSL_ASSIGN_OR_RETURN(std::vector<Row> page, LoadPage());
    if (page.empty()) break;
    ABSL_RETURN_IF_ERROR(PutPostgresRowsBack(
        connection(), absl::MakeSpan(page),
        [this](absl::Span<Row> rows, RollbackReport* done) { return PutBackTogether(rows, done); }, &report_));
  }
  ABSL_RETURN_IF_ERROR(TakeIdsAway());
  return std::move(report_);
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
  return ImportRollback(std::move(target), old_rows).Run();
}

}  // namespace reembed
