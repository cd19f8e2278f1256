// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/libsql_db.h"

namespace reembed {
namespace {

// `extension` means nothing for a server, and `tls` nothing for a file.
constexpr std::array<absl::string_view, 14> kParameters = {
    "extension",  "table",          "key",      "null_key", "text", "template", "vector", "model_column",
    "dim_column", "updated_column", "encoding", "where",    "mode", "tls"};
constexpr absl::string_view kSet = "set.";  // and the name of a column
constexpr std::array<absl::string_view, 3> kRowidNames = {"rowid", "_rowid_", "oid"};
constexpr size_t kMaxNamesShown = 20;
// A server that restarts is away for longer than another program locks a file.
constexpr absl::Duration kServerPatience = absl::Minutes(2);

std::string Suggestion(absl::string_view word, const std::vector<std::string>& names) {
  if (const std::string near = NearestName(word, names); !near.empty()) {
    return absl::StrCat("; did you mean `", near, "`?");
  }
  if (names.empty()) return "; there is none";
  const absl::Span<const std::string> shown = absl::MakeConstSpan(names).subspan(0, kMaxNamesShown);
  return absl::StrCat("; there are: ", absl::StrJoin(shown, ", "), shown.size() < names.size() ? ", ..." : "");
}

// What the schema says beyond SqliteTable, needed only to choose the key.
struct Shape {
  std::vector<std::string> primary_key;
  bool rowid_alias = false;  // the primary key is an INTEGER PRIMARY KEY
};

struct UniqueIndex {
  std::string name;
  std::string collation;
  bool of_primary_key = false;
};

absl::Status FindTable(const SqlDb& db, const std::string& asked, SqliteTable* table) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement list, db.Prepare("SELECT name, type, wr, strict FROM pragma_table_list WHERE "
                                                         "schema = 'main' AND name NOT LIKE 'sqlite!_%' ESCAPE "
                                                         "'!'"));
  std::vector<std::string> names;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) break;
    const std::string name(list.Text(0));
    const absl::string_view type = list.Text(1);
    if (type != "shadow") names.push_back(name);
    if (!absl::EqualsIgnoreCase(name, asked)) continue;
    table->name = name;
    table->kind = type == "view"      ? SqliteTable::Kind::kView
                  : type == "virtual" ? SqliteTable::Kind::kVirtual
                                      : SqliteTable::Kind::kTable;
    table->has_rowid = table->kind != SqliteTable::Kind::kView && list.Int(2) == 0;
    table->strict = list.Int(3) != 0;
  }
  if (!table->name.empty()) return absl::OkStatus();
  std::sort(names.begin(), names.end());
  return absl::NotFoundError(absl::StrCat(db.path(), ": no table `", asked, "`", Suggestion(asked, names)));
}

absl::Status ReadColumns(const SqlDb& db, SqliteTable* table, Shape* shape) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement list,
                        db.Prepare("SELECT name, upper(type), \"notnull\", pk, hidden FROM pragma_table_xinfo(?1)"));
  list.BindText(1, table->name);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) return absl::OkStatus();
    const int64_t hidden = list.Int(4);
    if (hidden == 1) continue;  // of a virtual table: not data
    table->columns.push_back({.name = std::string(list.Text(0)),
                              .type = std::string(list.Text(1)),
                              .not_null = list.Int(2) != 0,
                              .generated = hidden != 0});
    if (list.Int(3) != 0) shape->primary_key.push_back(table->columns.back().name);
  }
}

// Indexes that make `column` alone unique, over all rows.
absl::StatusOr<std::vector<UniqueIndex>> UniqueIndexes(const SqlDb& db, const SqliteTable& table,
                                                       const std::string& column) {
  ABSL_ASSIGN_OR_RETURN(
      SqliteStatement list,
      db.Prepare(
          "SELECT i.name, max(c.coll), i.origin FROM pragma_index_list(?1) AS i, pragma_index_xinfo(i.name) AS c "
          "WHERE i.\"unique\" AND NOT i.partial AND c.key GROUP BY i.name HAVING count(*) = 1 AND max(c.name) = ?2 "
          "ORDER BY i.origin = 'pk' DESC, i.name"));
  list.BindText(1, table.name);
  list.BindText(2, column);
  std::vector<UniqueIndex> indexes;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) return indexes;
    indexes.push_back({std::string(list.Text(0)), std::string(list.Text(1)), list.Text(2) == "pk"});
  }
}

// A column may bear one of the names; then the rowid goes by another.
std::string RowidName(absl::string_view asked, const SqliteTable& table) {
  std::string name(asked);
  for (size_t i = 0; (name.empty() || table.Find(name) != nullptr) && i < kRowidNames.size(); ++i) {
    name = std::string(kRowidNames[i]);
  }
  return name;
}

absl::Status ChooseRowid(absl::string_view asked, const Shape& shape, SqliteTable* table) {
  table->key = RowidName(asked, *table);
  table->vacuum_changes_keys = table->kind == SqliteTable::Kind::kTable && !shape.rowid_alias;
  return absl::OkStatus();
}

absl::Status ChooseColumn(const SqlDb& db, const SqliteTable::Column& column, const Shape& shape, SqliteTable* table) {
  table->key = column.name;
  const bool is_primary_key = shape.primary_key.size() == 1 && shape.primary_key[0] == column.name;
  if (is_primary_key && shape.rowid_alias) return absl::OkStatus();
  table->key_may_be_null = !column.not_null && (table->has_rowid || !is_primary_key);
  if (table->kind != SqliteTable::Kind::kTable) {
    table->key_may_repeat = true;
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(const std::vector<UniqueIndex> indexes, UniqueIndexes(db, *table, column.name));
  if (indexes.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(table->path, ": table `", table->name, "`: key `", column.name,
                                                      "` is not declared unique, so it may name several rows; use ",
                                                      table->has_rowid ? "key=rowid" : "a column that is"));
  }
  const UniqueIndex& index = indexes.front();
  table->key_collation = index.collation;
  // WITHOUT ROWID: the primary key is the table itself.
  if (table->has_rowid || !index.of_primary_key) table->key_index = index.name;
  return absl::OkStatus();
}

absl::Status ChooseKey(const SqlDb& db, const std::string& asked, Shape shape, SqliteTable* table) {
  if (shape.primary_key.size() == 1 && table->kind == SqliteTable::Kind::kTable && table->has_rowid) {
    // An INTEGER PRIMARY KEY is the rowid; any other primary key has an index
    // (https://sqlite.org/lang_createtable.html, section 5).
    ABSL_ASSIGN_OR_RETURN(const std::vector<UniqueIndex> indexes, UniqueIndexes(db, *table, shape.primary_key[0]));
    shape.rowid_alias =
        std::none_of(indexes.begin(), indexes.end(), [](const UniqueIndex& i) { return i.of_primary_key; });
  }
  const std::string where = absl::StrCat(table->path, ": table `", table->name, "`: ");
  if (asked.empty()) {
    if (shape.primary_key.size() == 1) return ChooseColumn(db, *table->Find(shape.primary_key[0]), shape, table);
    if (table->has_rowid) return ChooseRowid("", shape, table);
    return absl::InvalidArgumentError(
        absl::StrCat(where, table->kind == SqliteTable::Kind::kView ? "is a view" : "has no primary key of one column",
                     "; name a unique column with key="));
  }
  if (const SqliteTable::Column* column = table->Find(asked)) return ChooseColumn(db, *column, shape, table);
  const bool is_rowid_name = std::any_of(kRowidNames.begin(), kRowidNames.end(),
                                         [&](absl::string_view name) { return absl::EqualsIgnoreCase(name, asked); });
  if (is_rowid_name && table->has_rowid) return ChooseRowid(asked, shape, table);
  if (is_rowid_name) {
    return absl::InvalidArgumentError(absl::StrCat(where, "its rows have no rowid; name a unique column with key="));
  }
  return ResolveSqliteColumn(*table, "key", asked).status();
}

// Whether every value of the column is NULL, a text or a blob, and a blob's bytes are what a cast makes of it.
// Source: https://sqlite.org/datatype3.html, section 3.1
bool HoldsTextBytes(const SqlDb& db, const SqliteTable& table, absl::string_view column) {
  const SqliteTable::Column* const found = table.kind == SqliteTable::Kind::kTable ? table.Find(column) : nullptr;
  if (found == nullptr || absl::StrContains(found->type, "INT")) return false;
  if (!absl::StrContains(found->type, "CHAR") && !absl::StrContains(found->type, "CLOB") &&
      !absl::StrContains(found->type, "TEXT")) {
    return false;
  }
  absl::StatusOr<SqliteStatement> encoding = db.Prepare("PRAGMA encoding");
  if (!encoding.ok()) return false;
  const absl::StatusOr<bool> row = encoding->Step();
  return row.ok() && *row && encoding->Text(0) == "UTF-8";
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqlDb>> OpenSqlDb(const Location& place, SqliteAccess access,
                                                 absl::Duration busy_timeout) {
  if (place.scheme == "libsql") return OpenLibsqlDb(place, kServerPatience);
  return OpenSqliteFile(place, access, busy_timeout);
}

absl::StatusOr<std::unique_ptr<SqliteDb>> OpenSqliteFile(const Location& place, SqliteAccess access,
                                                         absl::Duration busy_timeout) {
  absl::StatusOr<std::unique_ptr<SqliteDb>> db = SqliteDb::Open(place.path, access, busy_timeout);
  const std::string extension = place.Get("extension");
  if (!db.ok() || extension.empty()) return db;
  ABSL_RETURN_IF_ERROR((*db)->LoadExtension(extension));
  return db;
}

absl::StatusOr<SqliteLocation> ParseSqliteLocation(const Location& location) {
  const bool remote = location.scheme == "libsql";
  if (location.scheme != "sqlite" && !remote) {
    return absl::InvalidArgumentError(
        absl::StrCat("`", location.ToString(), "`: expected sqlite:PATH?table=NAME or libsql://HOST?table=NAME"));
  }
  const std::string name = absl::StrCat(location.scheme, ":", location.path);
  std::vector<absl::string_view> known(kParameters.begin() + (remote ? 1 : 0), kParameters.end() - (remote ? 0 : 1));
  for (const auto& [parameter, value] : location.parameters) {
    if (absl::StartsWith(parameter, kSet)) known.push_back(parameter);
  }
  ABSL_RETURN_IF_ERROR(location.CheckParameters(known));
  SqliteLocation asked{.place = location,
                       .path = location.path,
                       .table = location.Get("table"),
                       .key = location.Get("key"),
                       .text = location.Get("text"),
                       .text_template = location.Get("template"),
                       .vector = location.Get("vector"),
                       .model_column = location.Get("model_column"),
                       .dim_column = location.Get("dim_column"),
                       .updated_column = location.Get("updated_column"),
                       .where = location.Get("where")};
  if (!asked.text.empty() && !asked.text_template.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": text= and template= say the same thing; keep one of them"));
  }
  const absl::StatusOr<VectorEncoding> encoding = ParseVectorEncoding(location.Get("encoding"));
  if (!encoding.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", encoding.status().message()));
  }
  asked.encoding = *encoding;
  const std::string mode = location.Get("mode", "update");
  if (mode != "update" && mode != "upsert") {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected mode=update or mode=upsert, got `", mode, "`"));
  }
  asked.mode = mode == "upsert" ? SqliteLocation::Mode::kUpsert : SqliteLocation::Mode::kUpdate;
  for (const auto& [parameter, value] : location.parameters) {
    if (absl::StartsWith(parameter, kSet)) asked.sets[parameter.substr(kSet.size())] = value;
  }
  if (!asked.sets.empty() && asked.mode != SqliteLocation::Mode::kUpsert) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": set.", asked.sets.begin()->first, "= is for rows that are added; it needs mode=upsert"));
  }
  if (asked.table.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": no table; add ?table=NAME"));
  }
  const std::string null_key = location.Get("null_key");
  asked.names_null_keys = null_key == "rowid";
  if (!null_key.empty() && !asked.names_null_keys) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected null_key=rowid, got `", null_key, "`"));
  }
  if (asked.names_null_keys && !asked.vector.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": null_key= does not go with vector=, as a row is filled in place by its key; use key=rowid"));
  }
  return asked;
}

const SqliteTable::Column* SqliteTable::Find(absl::string_view column) const {
  const auto found = std::find_if(columns.begin(), columns.end(),
                                  [&](const Column& c) { return absl::EqualsIgnoreCase(c.name, column); });
  return found == columns.end() ? nullptr : &*found;
}

std::string SqliteTable::KeySql() const {
  return absl::StrCat(QuoteName(key), key_collation.empty() ? "" : absl::StrCat(" COLLATE ", QuoteName(key_collation)));
}

std::string SqliteTable::IsNamedSql(absl::string_view parameter) const {
  std::string by_key = absl::StrCat(KeySql(), " = ", parameter);
  if (rowid_of_null_key.empty()) return by_key;
  const size_t prefix = kNullKeyPrefix.size();
  return absl::StrCat("(", by_key, " OR (", QuoteName(key), " IS NULL AND ", QuoteName(rowid_of_null_key),
                      " = CASE WHEN substr(", parameter, ", 1, ", prefix, ") = '", kNullKeyPrefix,
                      "' THEN CAST(substr(", parameter, ", ", prefix + 1, ") AS INTEGER) END))");
}

absl::StatusOr<SqliteTable> ResolveSqliteTable(const SqlDb& db, const SqliteLocation& asked) {
  SqliteTable table{.path = db.path()};
  Shape shape;
  ABSL_RETURN_IF_ERROR(FindTable(db, asked.table, &table));
  ABSL_RETURN_IF_ERROR(ReadColumns(db, &table, &shape));
  ABSL_RETURN_IF_ERROR(ChooseKey(db, asked.key, shape, &table));
  const bool may_name_null = table.kind == SqliteTable::Kind::kTable && table.has_rowid && table.key_may_be_null;
  if (asked.names_null_keys && may_name_null) table.rowid_of_null_key = RowidName("", table);
  return table;
}

absl::StatusOr<bool> HasSqliteTable(const SqlDb& db, absl::string_view name) {
  ABSL_ASSIGN_OR_RETURN(
      SqliteStatement find,
      db.Prepare("SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE"));
  find.BindText(1, name);
  return find.Step();
}

absl::StatusOr<std::string> ResolveSqliteColumn(const SqliteTable& table, absl::string_view parameter,
                                                absl::string_view column) {
  if (const SqliteTable::Column* found = table.Find(column)) return found->name;
  std::vector<std::string> names;
  for (const SqliteTable::Column& c : table.columns) names.push_back(c.name);
  return absl::NotFoundError(absl::StrCat(table.path, ": table `", table.name, "`: no column `", column, "` for ",
                                          parameter, "=", Suggestion(column, names)));
}

absl::Status CheckSqliteWhere(const SqlDb& db, const SqliteTable& table, absl::string_view where) {
  if (where.empty()) return absl::OkStatus();
  const absl::StatusOr<SqliteStatement> statement =
      db.Prepare(absl::StrCat("SELECT 1 FROM ", QuoteName(table.name), " WHERE ", WhereSql(where)));
  if (!statement.ok()) {
    return absl::Status(statement.status().code(), absl::StrCat(statement.status().message(), " in where=", where));
  }
  if (statement->parameters() == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(table.path, ": expected a condition without parameters, got where=", where, "; write the value"));
}

// A comment at the end of `where` must not swallow the parenthesis.
std::string WhereSql(absl::string_view where) { return where.empty() ? "1" : absl::StrCat("(", where, "\n)"); }

std::string TextBytesSql(const SqlDb& db, const SqliteTable& table, absl::string_view column) {
  // A cast takes a tenth of the time that a row takes.
  if (db.gives_any_text() && HoldsTextBytes(db, table, column)) return QuoteName(column);
  std::string text = absl::StrCat("CAST(", QuoteName(column), " AS TEXT)");
  if (db.gives_any_text()) return text;
  // A database in UTF-16 gives its own bytes as a blob: there the text must do, whose characters are all valid.
  return absl::StrCat("CASE WHEN hex(CAST('a' AS BLOB)) = '61' THEN CAST(", text, " AS BLOB) ELSE ", text, " END");
}

absl::Status CheckSqliteKeysPresent(const SqlDb& db, const SqliteTable& table, absl::string_view where) {
  if (!table.key_may_be_null) return absl::OkStatus();
  const std::string key = QuoteName(table.key);
  const auto is_there = [&](absl::string_view which) -> absl::StatusOr<bool> {
    ABSL_ASSIGN_OR_RETURN(SqliteStatement statement,
                          db.Prepare(absl::StrCat("SELECT 1 FROM ", QuoteName(table.name), " WHERE ", which, " AND ",
                                                  WhereSql(where), " LIMIT 1")));
    return statement.Step();
  };
  ABSL_ASSIGN_OR_RETURN(const bool lacks_key, is_there(absl::StrCat(key, " IS NULL")));
  if (!lacks_key) return absl::OkStatus();
  const std::string name = absl::StrCat(table.path, ": table `", table.name, "`: ");
  if (table.rowid_of_null_key.empty()) {
    const std::string leave_out = absl::StrCat("leave them out by the condition '", key, " IS NOT NULL'");
    return WithSetting(absl::FailedPreconditionError(
                           absl::StrCat(name, "some rows have no key (`", table.key, "` is NULL); ",
                                        table.has_rowid ? absl::StrCat("use key=rowid, or ", leave_out)
                                                        : absl::StrCat(leave_out, ", or use another column"))),
                       Setting::kCondition);
  }
  const std::string end = absl::StrCat(kNullKeyPrefix.substr(0, kNullKeyPrefix.size() - 1), ";");
  ABSL_ASSIGN_OR_RETURN(const bool looks_alike, is_there(absl::StrCat(table.KeySql(), " >= '", kNullKeyPrefix, "' AND ",
                                                                      table.KeySql(), " < '", end, "'")));
  if (!looks_alike) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(name, "some rows have no key, and others have one that begins with `", kNullKeyPrefix,
                   "`, as those would be named; use key=", table.rowid_of_null_key));
}

}  // namespace reembed
