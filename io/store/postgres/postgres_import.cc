// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_import.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"
#include "engine/table_sink.h"
#include "io/store/postgres/postgres_error.h"
#include "io/store/postgres/postgres_import_target.h"
#include "io/store/postgres/postgres_import_undo.h"
#include "io/store/postgres/postgres_index.h"
#include "io/store/postgres/postgres_target.h"
#include "io/store/postgres/postgres_vector.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_table.h"

namespace reembed {
namespace {

constexpr size_t kStatementBytes = size_t{4} << 20;
constexpr size_t kMaxStatementRows = 1000;
constexpr char kUniqueViolation[] = "23505";
constexpr PostgresValue kNoValues[5] = {};  // NULL, for a statement that is not run

// The fields of single rows of the source, as one JSON object each. Reads only; holds no lock between two calls.
class SourceRows {
 public:
  static absl::StatusOr<SourceRows> Open(const Location& source, const PostgresLocation& asked,
                                         absl::Duration patience) {
    if (source.scheme != "sqlite" && source.scheme != "libsql") {
      return absl::InvalidArgumentError(
          absl::StrCat(asked.address.name, ": mode=insert imports rows of an SQLite file or a libSQL server, not of ",
                       source.scheme));
    }
    ABSL_ASSIGN_OR_RETURN(const SqliteLocation parsed, ParseSqliteLocation(source));
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqlDb> db, OpenSqlDb(parsed.place, SqliteAccess::kReadOnly, patience));
    ABSL_ASSIGN_OR_RETURN(const SqliteTable table, ResolveSqliteTable(*db, parsed));
    ABSL_ASSIGN_OR_RETURN(SqliteStatement find,
                          db->Prepare(absl::StrCat("SELECT ", ObjectSql(table, asked.fields), " FROM ",
                                                   QuoteName(table.name), " WHERE ", table.IsNamedSql("?1"))));
    return SourceRows(std::move(db), std::move(find));
  }

  // nullopt: the row is gone.
  absl::StatusOr<std::optional<std::string>> Find(KeyView key) {
    find_.BindKey(1, key);
    ABSL_ASSIGN_OR_RETURN(const bool row, find_.Step());
    if (!row) return std::nullopt;
    std::string object(find_.Text(0));
    find_.Reset();
    return object;
  }

 private:
  SourceRows(std::unique_ptr<SqlDb> db, SqliteStatement find) : db_(std::move(db)), find_(std::move(find)) {}

  static std::string ObjectSql(const SqliteTable& table, const std::vector<std::string>& fields) {
    std::vector<std::string> pairs;
    for (absl::string_view field : fields) {
      const bool json = absl::ConsumeSuffix(&field, ":json");
      const SqliteTable::Column* const column = table.Find(field);
      if (column == nullptr) continue;
      const std::string name = QuoteName(column->name);
      const std::string text = absl::StrCat("CAST(", name, " AS TEXT)");
      pairs.push_back(
          absl::StrCat("'", absl::StrReplaceAll(field, {{"'", "''"}}), "', ",
                       json ? absl::StrCat("CASE WHEN json_valid(", text, ") THEN json(", text, ") ELSE ", text, " END")
                            : absl::StrCat("CASE typeof(", name, ") WHEN 'blob' THEN ", text, " ELSE ", name, " END")));
    }
    return absl::StrCat("json_object(", absl::StrJoin(pairs, ", "), ")");
  }

  std::unique_ptr<SqlDb> db_;
  SqliteStatement find_;
};

// One row of a Write().
struct Item {
  RowToWrite* row = nullptr;
  std::string object;  // its fields in the source
};

class PostgresImportRowWriter final : public RowWriter {
 public:
  PostgresImportRowWriter(PostgresImportTarget import, SourceRows rows)
      : import_(std::move(import)), rows_(std::move(rows)) {}

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    ABSL_RETURN_IF_ERROR(import_.target.connection->Persist([&]() -> absl::Status {
      // Looked at again: others may have changed the tables since the sink was made.
      ABSL_RETURN_IF_ERROR(ResolvePostgresImportTarget(&import_));
      ABSL_RETURN_IF_ERROR(MakeSchema(context.undo));
      return MakeIds(context.undo);
    }));
    return false;  // Begin() looks
  }

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    undo_ = context.undo;
    bool empty = false;
    ABSL_RETURN_IF_ERROR(import_.target.connection->Persist([&]() -> absl::Status {
      ABSL_RETURN_IF_ERROR(ResolvePostgresImportTarget(&import_));
      if (!import_.target.table.has_value()) {
        return NotPreparedError(import_.target.connection->name(),
                                absl::StrCat("table `", import_.target.asked.table, "`"));
      }
      if (!import_.has_ids || !import_.has_hashes) {
        return NotPreparedError(import_.target.Place(), absl::StrCat("table `", import_.ids, "` beside it"));
      }
      ABSL_RETURN_IF_ERROR(PrepareStatement());
      return HasNothing(&empty);
    }));
    // The tables may have been made anew since the last run, by this stream of the job or by another.
    return empty ? 0 : last.position;
  }

  absl::Status NameRows(absl::Span<RowToWrite> rows) override {
    for (RowToWrite& row : rows) row.key = KeyText(row.row->key);
    return absl::OkStatus();
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    std::vector<Item> items;
    std::vector<RowToWrite*> there;
    for (RowToWrite* const row : rows) {
      ABSL_ASSIGN_OR_RETURN(std::optional<std::string> object, rows_.Find(row->row->key));
      if (!object.has_value()) {
        row->SetGone("is gone from the source");
        continue;
      }
      items.push_back({row, *std::move(object)});
      there.push_back(row);
    }
    ABSL_RETURN_IF_ERROR(LogPostgresBrought(there, import_.ids, &import_.target, undo_));
    const absl::Span<const Item> all = items;
    const size_t vector_bytes = static_cast<size_t>(import_.target.model.dim) * sizeof(float);
    for (size_t begin = 0; begin < all.size();) {
      size_t end = begin, bytes = 0;
      while (end < all.size() && end - begin < kMaxStatementRows && (end == begin || bytes < kStatementBytes)) {
        bytes += vector_bytes + all[end++].object.size();
      }
      ABSL_RETURN_IF_ERROR(Store(all.subspan(begin, end - begin)));
      begin = end;
    }
    return absl::OkStatus();
  }

  absl::Status Publish(const SinkContext&) override {
    return import_.target.connection->Persist([&]() -> absl::Status { return BuildPostgresIndexes(import_.target); });
  }

 private:
  absl::Status MakeSchema(UndoLog* undo) {
    PostgresTarget& target = import_.target;
    if (target.table.has_value()) return absl::OkStatus();
    if (undo != nullptr) {
      ABSL_RETURN_IF_ERROR(LogPostgresSchemaMade(undo));
    }
    std::string path;
    if (!target.asked.schema.empty()) {
      path = absl::StrCat("SET LOCAL search_path = ", QuotePostgresName(target.asked.schema), ", public;\n");
    }
    absl::Status run = RunSchema(path);
    if (!run.ok()) return absl::Status(run.code(), absl::StrCat(target.asked.schema_file, ": ", run.message()));
    ABSL_RETURN_IF_ERROR(ResolvePostgresImportTarget(&import_));
    if (!target.table.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat(target.asked.schema_file, ": made no table `",
                                                        target.asked.table, "` that the search path finds"));
    }
    // Rows of a table that is gone are not in the new one.
    if (!import_.has_ids) return absl::OkStatus();
    return target.connection->Run(
        absl::StrCat("DELETE FROM ", import_.ids, " WHERE target = ", QuotePostgresText(target.table->name)));
  }

  // The file's statements in one transaction. Behind a pooler they must not change the session, which is others' next.
  absl::Status RunSchema(const std::string& search_path) {
    static constexpr char kSession[] =
        "SELECT coalesce(pg_catalog.string_agg(name || '=' || setting, ', ' ORDER BY name), '') FROM "
        "pg_catalog.pg_settings WHERE source = 'session'";
    PostgresConnection* const connection = import_.target.connection.get();
    ABSL_ASSIGN_OR_RETURN(const bool pooled, connection->IsPooled());
    absl::Status status = connection->Begin();
    if (status.ok()) status = connection->Run(search_path);
    const auto session = [&]() -> std::string {
      const absl::StatusOr<PostgresRows> rows = connection->Query(kSession);
      status.Update(rows.status());
      return rows.ok() ? rows->Text(0, 0) : "";
    };
    std::string before, after;
    if (status.ok()) before = session();
    if (status.ok()) status = connection->Run(import_.schema_sql);
    if (status.ok()) after = session();
    if (status.ok() && pooled && before != after) {
      status = absl::FailedPreconditionError(
          "a SET or set_config() in it would last for the session; write SET LOCAL, or leave it out");
    }
    if (status.ok()) return connection->Run("COMMIT");
    connection->Run("ROLLBACK").IgnoreError();  // the first failure is the one to tell
    return status;
  }

  absl::Status MakeIds(UndoLog* undo) {
    // IF NOT EXISTS does not ask less of the user.
    if (import_.has_ids && import_.has_hashes) return absl::OkStatus();
    if (import_.has_ids) {
      return import_.target.connection->Run(
          absl::StrCat("ALTER TABLE ", import_.ids, " ADD COLUMN IF NOT EXISTS row_hash text"));
    }
    if (undo != nullptr) {
      ABSL_RETURN_IF_ERROR(LogPostgresIdsMade(undo));
    }
    // In the order of bytes, so that keys asked for in the source's order lie together.
    return import_.target.connection->Run(
        absl::StrCat("CREATE TABLE IF NOT EXISTS ", import_.ids,
                     " (source text NOT NULL, old_id text COLLATE \"C\" NOT NULL, target text NOT "
                     "NULL, new_id text NOT NULL, row_hash text, PRIMARY KEY (target, source, old_id))"));
  }

  // Whether no row of this source is there.
  absl::Status HasNothing(bool* empty) {
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows any,
        import_.target.connection->Query(
            absl::StrCat("SELECT 1 FROM ", import_.ids, " WHERE target = $1 AND source = $2 LIMIT 1"),
            {PostgresValue::Text(import_.target.table->name), PostgresValue::Text(import_.target.asked.origin)}));
    *empty = any.size() == 0;
    return absl::OkStatus();
  }

  absl::Status PrepareStatement() {
    const PostgresTarget& target = import_.target;
    const PostgresTable& table = *target.table;
    const PostgresVectorColumn& vector = *target.vector;
    ABSL_ASSIGN_OR_RETURN(const PostgresRows oid,
                          target.connection->Query("SELECT $1::regtype::oid", {PostgresValue::Text(vector.wire_type)}));
    vector_oid_ = static_cast<int32_t>(oid.Int(0, 0));
    std::string columns, values;
    for (const auto& [column, sql] : target.asked.sets) {
      absl::StrAppend(&columns, ", ", QuotePostgresName(column));
      absl::StrAppend(&values, ", (", sql, ")");
    }
    const std::string column = QuotePostgresName(vector.name);
    const std::string key_type = table.Find(table.key)->type;
    // JSON knows no equality.
    const std::string as_comparable = vector.base_type == "json" ? "::text" : "";
    const std::string& text = target.asked.text;
    const std::string changed =
        text.empty() ? "false" : absl::StrCat("t.", QuotePostgresName(text), " IS DISTINCT FROM known.text");
    store_ = absl::StrCat(
        "WITH s AS MATERIALIZED (SELECT k, v", vector.cast,
        " AS v, o::jsonb AS r, n FROM unnest($1::text[], $2::", vector.wire_type,
        "[], $3::text[]) WITH ORDINALITY AS u(k, v, o, n)), ",
        "known AS MATERIALIZED (SELECT s.n, s.v, i.new_id::", key_type, " AS id, (",
        text.empty() ? "NULL" : target.asked.sets.at(text), ") AS text FROM s JOIN ", import_.ids,
        " AS i ON i.target = $4 AND i.source = $5 AND i.old_id = s.k), ",
        "fresh AS MATERIALIZED (SELECT s.k, s.v, s.r, ", import_.new_key,
        " AS id FROM s WHERE NOT EXISTS (SELECT 1 FROM known WHERE known.n = s.n)), ", "stored AS (INSERT INTO ",
        table.Sql(), " AS t (", table.KeySql(), ", ", column, columns, ") OVERRIDING SYSTEM VALUE SELECT id, v", values,
        " FROM fresh RETURNING t.", table.KeySql(), " AS id, ", PostgresRowHashSql(table, vector), " AS hash), ",
        "named AS (INSERT INTO ", import_.ids,
        " (source, old_id, target, new_id, row_hash) SELECT $5, fresh.k, $4, fresh.id::text, stored.hash FROM fresh "
        "LEFT JOIN stored ON stored.id = fresh.id), ",
        "renewed AS (UPDATE ", table.Sql(), " AS t SET ", column, " = known.v FROM known WHERE t.", table.KeySql(),
        " = known.id AND t.", column, as_comparable, " IS DISTINCT FROM known.v", as_comparable, " AND NOT (", changed,
        ")) ", "SELECT known.n, t.", table.KeySql(), " IS NULL FROM known LEFT JOIN ", table.Sql(), " AS t ON t.",
        table.KeySql(), " = known.id WHERE t.", table.KeySql(), " IS NULL OR ", changed);
    return absl::OkStatus();
  }

  absl::Status Store(absl::Span<const Item> rows) {
    absl::Status status = StoreTogether(rows);
    if (status.ok()) return status;
    const std::string code = import_.target.connection->last_code();
    const PostgresRefusal refusal = PostgresRefusalOf(code);
    if (refusal == PostgresRefusal::kNo) return status;
    // A statement that fails whatever its rows are refuses none of them.
    const bool is_statement =
        refusal == PostgresRefusal::kMaybe && !import_.target.connection->Query("EXPLAIN " + store_, kNoValues).ok();
    if (is_statement) return status;
    if (rows.size() > 1) {
      // Each statement is a transaction, so nothing of this one is stored. Halving finds the rows that are to blame.
      const size_t half = rows.size() / 2;
      ABSL_RETURN_IF_ERROR(Store(rows.subspan(0, half)));
      return Store(rows.subspan(half));
    }
    // Another run may have brought it between the statement's look and its insert.
    if (code == kUniqueViolation) status = StoreTogether(rows);
    if (status.ok()) return status;
    if (PostgresRefusalOf(import_.target.connection->last_code()) == PostgresRefusal::kNo) return status;
    rows[0].row->Refuse(status.message());
    return absl::OkStatus();
  }

  // An element of an array in binary form.
  static void AppendText(const std::string& text, std::string* array) {
    AppendInt32(static_cast<int32_t>(text.size()), array);
    array->append(text);
  }

  // One transaction. Errors: the server's.
  absl::Status StoreTogether(absl::Span<const Item> rows) {
    std::string keys(kPostgresArrayHeadBytes, '\0'), vectors = keys, objects = keys;
    std::vector<RowToWrite*> sent;
    for (const Item& item : rows) {
      const absl::Span<const float> vector(item.row->row->vector, static_cast<size_t>(import_.target.model.dim));
      if (!AppendPostgresVector(import_.target.vector->form, vector, &vectors)) {
        item.row->Refuse("its vector has a number that a column of this type cannot hold");
        continue;
      }
      AppendText(*item.row->key, &keys);
      AppendText(item.object, &objects);
      sent.push_back(item.row);
    }
    if (sent.empty()) return absl::OkStatus();
    keys.replace(0, kPostgresArrayHeadBytes, PostgresArrayHead(kPostgresTextOid, sent.size()));
    vectors.replace(0, kPostgresArrayHeadBytes, PostgresArrayHead(vector_oid_, sent.size()));
    objects.replace(0, kPostgresArrayHeadBytes, PostgresArrayHead(kPostgresTextOid, sent.size()));
    PostgresConnection* const connection = import_.target.connection.get();
    return connection->Persist([&] {
      const absl::StatusOr<PostgresRows> odd = connection->Query(
          store_, {PostgresValue::Binary(keys), PostgresValue::Binary(vectors), PostgresValue::Binary(objects),
                   PostgresValue::Text(import_.target.table->name), PostgresValue::Text(import_.target.asked.origin)});
      for (int row = 0; odd.ok() && row < odd->size(); ++row) {
        RowToWrite* const brought = sent[static_cast<size_t>(odd->Int(row, 0) - 1)];
        if (odd->Bool(row, 1)) {
          brought->SetGone("was imported before, and has been removed since");
        } else {
          brought->Refuse(
              "was imported before, and has another text here now, so it keeps its vector; if it is another row, give "
              "this source another name with origin=");
        }
      }
      return odd.status();
    });
  }

  PostgresImportTarget import_;
  SourceRows rows_;
  UndoLog* undo_ = nullptr;
  int32_t vector_oid_ = 0;
  std::string store_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakePostgresImportSink(const Location& location, const Model& model,
                                                                   const Location& source,
                                                                   const PostgresImportOptions& options) {
  if (model.dim <= 0) return absl::InternalError("a model without a width");
  ABSL_ASSIGN_OR_RETURN(PostgresImportTarget import, OpenPostgresImportTarget(location, model, options.patience));
  ABSL_ASSIGN_OR_RETURN(SourceRows rows, SourceRows::Open(source, import.target.asked, options.patience));
  const std::string place = import.target.Place();
  return MakeTableSink(place, model.dim, std::make_unique<PostgresImportRowWriter>(std::move(import), std::move(rows)));
}

absl::StatusOr<std::vector<std::string>> PostgresImportChanges(const Location& location, const Model& model) {
  ABSL_ASSIGN_OR_RETURN(const PostgresImportTarget import,
                        OpenPostgresImportTarget(location, model, absl::ZeroDuration()));
  const PostgresLocation& asked = import.target.asked;
  std::vector<std::string> changes;
  if (!import.target.table.has_value()) {
    changes.push_back(absl::StrCat("makes the table ", asked.table, ", and what else is in ", asked.schema_file));
  }
  changes.push_back(absl::StrCat("adds rows to ", asked.table, ", each with its vector, and their old and new keys to ",
                                 kPostgresIdsTable));
  if (asked.index != "none") changes.push_back(absl::StrCat("builds an index (", asked.index, ") of ", asked.table));
  return changes;
}

absl::StatusOr<PostgresTable> PostgresImportedRows(PostgresConnection* connection, const PostgresLocation& asked) {
  ABSL_ASSIGN_OR_RETURN(PostgresTable table, ResolvePostgresTable(connection, asked));
  const std::string ids = absl::StrCat(QuotePostgresName(table.schema), ".", kPostgresIdsTable);
  ABSL_ASSIGN_OR_RETURN(const PostgresRows there,
                        connection->Query("SELECT pg_catalog.to_regclass($1) IS NOT NULL", {PostgresValue::Text(ids)}));
  if (!there.Bool(0, 0)) {
    return absl::NotFoundError(table.Message(absl::StrCat("no rows were imported from ", asked.origin)));
  }
  table.rows_sql = absl::StrCat("(SELECT i.old_id AS reembed_old_id, t.* FROM ", ids, " AS i JOIN ", table.Sql(),
                                " AS t ON t.", table.KeySql(), " = i.new_id::", table.Find(table.key)->type,
                                " WHERE i.target = ", QuotePostgresText(table.name),
                                " AND i.source = ", QuotePostgresText(asked.origin), ") AS rows");
  table.columns.push_back({.name = "reembed_old_id", .type = "text", .base_type = "text", .not_null = true});
  table.key = "reembed_old_id";
  table.key_kind = PostgresTable::KeyKind::kText;
  table.key_may_be_null = table.key_may_repeat = false;
  return table;
}

}  // namespace reembed
