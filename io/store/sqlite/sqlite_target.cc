// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_target.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// A column that a sink fills.
struct Companion {
  std::string name;
  std::string type;
  absl::string_view value;  // SQL
};

// The vector's column comes first.
std::vector<Companion> Columns(const SqliteLocation& asked) {
  std::vector<Companion> columns = {{asked.vector, IsText(asked.encoding) ? "TEXT" : "BLOB", "?2"}};
  if (!asked.model_column.empty()) columns.push_back({asked.model_column, "TEXT", "?3"});
  if (!asked.dim_column.empty()) columns.push_back({asked.dim_column, "INTEGER", "?4"});
  if (!asked.updated_column.empty()) {
    columns.push_back({asked.updated_column, "TEXT", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"});
  }
  return columns;
}

// A comment at its end must not swallow the parenthesis.
std::string SetSql(absl::string_view sql) { return absl::StrCat("(", sql, "\n)"); }

absl::Status CheckColumn(const SqliteTable& table, const std::string& name, absl::string_view needed_type,
                         std::vector<std::string>* missing) {
  const SqliteTable::Column* column = table.Find(name);
  if (column == nullptr) {
    missing->push_back(name);
    return absl::OkStatus();
  }
  const std::string where = absl::StrCat(table.path, ": table `", table.name, "`: column `", column->name, "`");
  if (column->name == table.key) {
    return absl::InvalidArgumentError(absl::StrCat(where, " is the key; name another column to fill"));
  }
  if (column->generated) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, " is computed by the table and cannot be filled; name another one"));
  }
  if (table.strict && column->type != needed_type && column->type != "ANY") {
    return absl::FailedPreconditionError(absl::StrCat(where, ": expected type ", needed_type, ", got ", column->type,
                                                      " in a STRICT table; name another column"));
  }
  return absl::OkStatus();
}

// A column of a vec0 table, by the statement that made the table.
struct Vec0Column {
  std::string name;
  bool is_partition = false;
};

// Those that a new row must have a value in, which have none by default: vectors, metadata and partitions.
std::vector<Vec0Column> NeededOfVec0(absl::string_view sql) {
  std::vector<Vec0Column> needed;
  sql.remove_prefix(std::min(sql.find('('), sql.size() - 1) + 1);
  for (absl::string_view part : absl::StrSplit(sql.substr(0, sql.rfind(')')), ',')) {
    part = absl::StripAsciiWhitespace(part);
    const std::string words = absl::AsciiStrToLower(part);
    const bool is_partition = absl::StrContains(words, "partition key");
    const bool other = absl::StartsWith(words, "+") || (absl::StrContains(words, " key") && !is_partition) ||
                       (absl::StrContains(words, "=") && !absl::StrContains(words, "["));
    const size_t end = part.find_first_of(" \t\n");
    if (!other && end != absl::string_view::npos) needed.push_back({std::string(part.substr(0, end)), is_partition});
  }
  return needed;
}

absl::StatusOr<std::vector<Vec0Column>> NeededOfVec0(const SqlDb& db, const SqliteTable& table) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement query, db.Prepare("SELECT sql FROM sqlite_schema WHERE name = ?1"));
  query.BindText(1, table.name);
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  return row ? NeededOfVec0(query.Text(0)) : std::vector<Vec0Column>();
}

// Nothing but a look at all keys tells that those of a virtual table are unique: vec0 takes `TEXT NOT NULL PRIMARY KEY`
// for a column like any other. Source: https://github.com/asg017/sqlite-vec/issues/150
absl::Status CheckKeysUnique(const SqlDb& db, const SqliteTable& table) {
  if (!table.key_may_repeat) return absl::OkStatus();
  const std::string key = QuoteName(table.key);
  ABSL_ASSIGN_OR_RETURN(SqliteStatement query,
                        db.Prepare(absl::StrCat("SELECT ", key, ", count(*) FROM ", QuoteName(table.name), " GROUP BY ",
                                                key, " HAVING count(*) > 1 LIMIT 1")));
  const absl::StatusOr<bool> row = query.Step();
  if (!row.ok() || !*row) return row.status();
  return absl::FailedPreconditionError(absl::StrCat(
      table.path, ": table `", table.name, "`: ", query.Int(1), " rows have the key ", KeyText(query.Text(0)),
      ", so a vector would have no row of its own; name a key that is unique, or remove all but one of them"));
}

absl::StatusOr<bool> IsEmpty(const SqlDb& db, const SqliteTable& table) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement query,
                        db.Prepare(absl::StrCat("SELECT 1 FROM ", QuoteName(table.name), " LIMIT 1")));
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Step());
  return !row;
}

// The columns that a new row must be given a value in; of a vec0 table where rows are changed before any is added only
// while it is empty.
absl::StatusOr<std::vector<std::string>> NeededColumns(const SqlDb& db, const SqliteTable& table, bool vec0) {
  std::vector<std::string> names;
  if (vec0) {
    ABSL_ASSIGN_OR_RETURN(const bool empty, IsEmpty(db, table));
    ABSL_ASSIGN_OR_RETURN(const std::vector<Vec0Column> needed, NeededOfVec0(db, table));
    for (const Vec0Column& column : needed) {
      if (empty) names.push_back(column.name);
    }
    return names;
  }
  ABSL_ASSIGN_OR_RETURN(
      SqliteStatement query,
      db.Prepare(
          "SELECT name FROM pragma_table_xinfo(?1) WHERE \"notnull\" AND dflt_value IS NULL AND pk = 0 AND hidden "
          "= 0"));
  query.BindText(1, table.name);
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) names.emplace_back(query.Text(0));
  ABSL_RETURN_IF_ERROR(row.status());
  return names;
}

bool IsSet(const SqliteLocation& asked, absl::string_view column) {
  return std::any_of(asked.sets.begin(), asked.sets.end(),
                     [column](const auto& set) { return absl::EqualsIgnoreCase(set.first, column); });
}

// Whether rows can be added that have nothing but a key, what is filled and what is set.
absl::Status CheckTakesNewRows(const SqlDb& db, const SqliteTable& table, const SqliteLocation& asked,
                               const std::vector<Companion>& filled, bool vec0) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> needed, NeededColumns(db, table, vec0));
  for (const std::string& name : needed) {
    const bool given = absl::EqualsIgnoreCase(name, table.key) || IsSet(asked, name) ||
                       std::any_of(filled.begin(), filled.end(),
                                   [&](const Companion& column) { return absl::EqualsIgnoreCase(name, column.name); });
    if (given) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        table.path, ": table `", table.name, "`: column `", name, "` needs a value, and mode=upsert has none for it; ",
        "say it with &set.", name, "=SQL, where ?1 is a row's key, or ",
        vec0 ? "fill the table's rows first" : "use mode=update for rows that are there"));
  }
  return absl::OkStatus();
}

// Whether what is set are other columns that the table has, by SQL that can be run.
absl::Status CheckSets(const SqlDb& db, const SqliteTable& table, const SqliteLocation& asked,
                       const std::vector<Companion>& filled) {
  for (const auto& [name, sql] : asked.sets) {
    ABSL_ASSIGN_OR_RETURN(const std::string column, ResolveSqliteColumn(table, absl::StrCat("set.", name), name));
    const std::string parameter = absl::StrCat(table.path, ": table `", table.name, "`: set.", name, "=");
    const bool twice = column == table.key || std::any_of(filled.begin(), filled.end(), [&](const Companion& other) {
                         return absl::EqualsIgnoreCase(other.name, column);
                       });
    if (twice) return absl::InvalidArgumentError(absl::StrCat(parameter, ": is a column that is filled anyway"));
    const absl::StatusOr<SqliteStatement> statement = db.Prepare(absl::StrCat("SELECT ", SetSql(sql)));
    if (!statement.ok()) {
      return absl::Status(statement.status().code(), absl::StrCat(parameter, ": ", statement.status().message()));
    }
    if (statement->parameters() > 1) {
      return absl::InvalidArgumentError(absl::StrCat(parameter, ": expected no parameter but ?1, the row's key"));
    }
  }
  return absl::OkStatus();
}

std::string MakeTableSql(const SqliteLocation& asked, const std::vector<Companion>& columns) {
  // The key has no type, so integers stay integers and texts stay texts.
  return absl::StrCat("CREATE TABLE ", QuoteName(asked.table), " (", QuoteName(asked.key), " PRIMARY KEY NOT NULL, ",
                      absl::StrJoin(columns, ", ",
                                    [](std::string* out, const Companion& column) {
                                      absl::StrAppend(out, QuoteName(column.name), " ", column.type);
                                    }),
                      ")");
}

// There is no table: of a target that may make one, how. `not_found`: what was said of it.
absl::Status ResolveMissingTable(const SqlDb& db, const absl::Status& not_found, const std::vector<Companion>& columns,
                                 SqliteTarget* target) {
  const SqliteLocation& asked = target->asked;
  ABSL_ASSIGN_OR_RETURN(const bool exists, HasSqliteTable(db, asked.table));
  if (exists) return not_found;
  if (target->is_rolled_back) return absl::OkStatus();
  const absl::string_view missing = not_found.message();
  const bool upsert = asked.mode == SqliteLocation::Mode::kUpsert;
  if (upsert && !asked.place.Get("extension").empty()) {
    return absl::NotFoundError(absl::StrCat(missing, "; make it first: CREATE VIRTUAL TABLE ", asked.table,
                                            " USING vec0(id INTEGER PRIMARY KEY, ", asked.vector, " float[N])"));
  }
  if (!upsert) return absl::NotFoundError(absl::StrCat(missing, " (mode=upsert makes a new table)"));
  if (!asked.sets.empty()) {
    return absl::NotFoundError(
        absl::StrCat(missing, "; make it first, with the column `", asked.sets.begin()->first, "` that is set"));
  }
  target->changes.push_back(MakeTableSql(asked, columns));
  target->lacks_vector = true;
  return absl::OkStatus();
}

absl::Status AddMissingColumns(const SqliteTable& table, bool vec0, const std::vector<Companion>& columns,
                               SqliteTarget* target) {
  for (const Companion& column : columns) {
    const size_t missing = target->missing_columns.size();
    ABSL_RETURN_IF_ERROR(CheckColumn(table, column.name, column.type, &target->missing_columns));
    if (target->missing_columns.size() == missing) continue;
    if (vec0) {
      return absl::FailedPreconditionError(absl::StrCat(table.path, ": `", table.name, "` has no column `", column.name,
                                                        "`, and a virtual table takes no new ones; make it with that "
                                                        "column, or name another"));
    }
    target->lacks_vector = target->lacks_vector || column.name == target->asked.vector;
    target->changes.push_back(
        absl::StrCat("ALTER TABLE ", QuoteName(table.name), " ADD COLUMN ", QuoteName(column.name), " ", column.type));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SqliteLocation> ParseSqliteTarget(const Location& location) {
  absl::StatusOr<SqliteLocation> asked = ParseSqliteLocation(location);
  ABSL_RETURN_IF_ERROR(asked.status());
  if (asked->mode == SqliteLocation::Mode::kUpsert) {
    const bool plain = location.Get("extension").empty();  // else it is a table that somebody has made
    if (asked->key.empty() && plain) asked->key = "key";
    if (asked->vector.empty()) asked->vector = "embedding";
    if (asked->model_column.empty() && plain) asked->model_column = "model";
  }
  if (asked->vector.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(location.scheme, ":", asked->path, ": no column to fill; add &vector=COLUMN"));
  }
  return asked;
}

absl::Status ResolveSqliteTarget(const SqlDb& db, SqliteTarget* target, absl::string_view vector_type) {
  const SqliteLocation& asked = target->asked;
  const bool upsert = asked.mode == SqliteLocation::Mode::kUpsert;
  target->missing_columns.clear();
  target->changes.clear();
  target->lacks_vector = false;
  target->partitions.clear();
  target->table.reset();
  std::vector<Companion> columns = Columns(asked);
  if (!vector_type.empty()) columns[0].type = std::string(vector_type);
  absl::StatusOr<SqliteTable> table = ResolveSqliteTable(db, asked);
  if (absl::IsNotFound(table.status())) return ResolveMissingTable(db, table.status(), columns, target);
  ABSL_RETURN_IF_ERROR(table.status());
  const bool vec0 = table->kind == SqliteTable::Kind::kVirtual && !asked.place.Get("extension").empty();
  if (table->kind != SqliteTable::Kind::kTable && !vec0) {
    return absl::InvalidArgumentError(absl::StrCat(table->path, ": `", table->name, "` is a ",
                                                   table->kind == SqliteTable::Kind::kView ? "view" : "virtual table",
                                                   "; name a plain table to fill"));
  }
  ABSL_RETURN_IF_ERROR(CheckKeysUnique(db, *table));
  if (upsert) {
    ABSL_RETURN_IF_ERROR(CheckSets(db, *table, asked, columns));
  }
  if (upsert && vec0) {
    ABSL_ASSIGN_OR_RETURN(const std::vector<Vec0Column> needed, NeededOfVec0(db, *table));
    for (const Vec0Column& column : needed) {
      if (column.is_partition) target->partitions.push_back(column.name);
    }
  }
  ABSL_RETURN_IF_ERROR(AddMissingColumns(*table, vec0, columns, target));
  if (upsert) {
    ABSL_RETURN_IF_ERROR(CheckTakesNewRows(db, *table, asked, columns, vec0));
  }
  target->table = *std::move(table);
  return absl::OkStatus();
}

std::string SqliteTarget::Place(absl::string_view path) const {
  return absl::StrCat(path, ": table `", table.has_value() ? table->name : asked.table, "`");
}

absl::Status NotPrepared(const SqliteTarget& target, absl::string_view path) {
  if (!target.table.has_value()) return NotPreparedError(path, absl::StrCat("table `", target.asked.table, "`"));
  return NotPreparedError(target.Place(path),
                          absl::StrCat("column `", absl::StrJoin(target.missing_columns, "`, `"), "`"));
}

std::string NoPartition(absl::string_view partition) {
  return absl::StrCat("is not there, and nothing says in which partition `", partition, "` to add it; add &set.",
                      partition, "=SQL, where ?1 is its key");
}

absl::Status ExplainUnchanged(SqliteStatement* find, RowToWrite* row) {
  find->BindKey(1, row->row->key);
  ABSL_ASSIGN_OR_RETURN(const bool found, find->Step());
  find->Reset();
  if (found) {
    row->Refuse("a trigger of the table ignored the change");
  } else {
    row->SetGone();
  }
  return absl::OkStatus();
}

const std::string* SqliteTarget::UnknownPartition() const {
  const auto unknown = std::find_if(partitions.begin(), partitions.end(),
                                    [this](const std::string& name) { return !IsSet(asked, name); });
  return unknown == partitions.end() ? nullptr : &*unknown;
}

bool StoresInTwoSteps(const SqliteTarget& target) {
  return target.table->kind == SqliteTable::Kind::kVirtual && target.asked.mode == SqliteLocation::Mode::kUpsert;
}

std::string InsertSql(const SqliteTarget& target) {
  std::string names, values;
  for (const Companion& column : Columns(target.asked)) {
    absl::StrAppend(&names, ", ", QuoteName(column.name));
    absl::StrAppend(&values, ", ", column.value);
  }
  std::vector<std::string> known;  // partitions
  for (const auto& [column, sql] : target.asked.sets) {
    absl::StrAppend(&names, ", ", QuoteName(column));
    absl::StrAppend(&values, ", ", SetSql(sql));
    const bool is_partition =
        std::any_of(target.partitions.begin(), target.partitions.end(),
                    [&column = column](const std::string& name) { return absl::EqualsIgnoreCase(name, column); });
    if (is_partition) known.push_back(absl::StrCat(SetSql(sql), " IS NOT NULL"));
  }
  const std::string into =
      absl::StrCat("INSERT INTO ", QuoteName(target.table->name), " (", QuoteName(target.table->key), names, ")");
  if (known.empty()) return absl::StrCat(into, " VALUES (?1", values, ")");
  return absl::StrCat(into, " SELECT ?1", values, " WHERE ", absl::StrJoin(known, " AND "));
}

std::string StoreSql(const SqliteTarget& target) {
  const std::string table = QuoteName(target.table->name);
  std::string assignments;
  for (const Companion& column : Columns(target.asked)) {
    absl::StrAppend(&assignments, assignments.empty() ? "" : ", ", QuoteName(column.name), " = ", column.value);
  }
  if (target.asked.mode == SqliteLocation::Mode::kUpdate || StoresInTwoSteps(target)) {
    return absl::StrCat("UPDATE ", table, " SET ", assignments, " WHERE ", target.table->KeySql(), " = ?1");
  }
  return absl::StrCat(InsertSql(target), " ON CONFLICT (", target.table->KeySql(), ") DO UPDATE SET ", assignments);
}

std::vector<std::string> FilledColumns(const SqliteTarget& target) {
  std::vector<std::string> names;
  for (Companion& column : Columns(target.asked)) names.push_back(std::move(column.name));
  return names;
}

std::string CellsSql(const SqliteTarget& target, size_t keys) {
  std::string sql = "WITH reembed_keys(reembed_n, reembed_key) AS (VALUES ";
  for (size_t i = 0; i < keys; ++i) absl::StrAppend(&sql, i == 0 ? "" : ", ", "(", i, ", ?", i + 1, ")");
  absl::StrAppend(&sql, ") SELECT reembed_n");
  for (const std::string& column : FilledColumns(target)) {
    absl::StrAppend(&sql, ", ",
                    target.table->Find(column) == nullptr ? "NULL" : absl::StrCat("reembed_t.", QuoteName(column)));
  }
  // CROSS JOIN keeps the order: a key, then its row.
  absl::StrAppend(&sql, " FROM reembed_keys CROSS JOIN ", QuoteName(target.table->name), " AS reembed_t ON reembed_t.",
                  target.table->KeySql(), " = reembed_key");
  return sql;
}

std::string RestoreSql(const SqliteTarget& target) {
  std::string assignments;
  int parameter = 1;
  for (const std::string& column : FilledColumns(target)) {
    ++parameter;
    if (target.table->Find(column) == nullptr) continue;
    absl::StrAppend(&assignments, assignments.empty() ? "" : ", ", QuoteName(column), " = ?", parameter);
  }
  return absl::StrCat("UPDATE ", QuoteName(target.table->name), " SET ", assignments, " WHERE ", target.table->KeySql(),
                      " = ?1");
}

std::string RemoveSql(const SqliteTarget& target) {
  return absl::StrCat("DELETE FROM ", QuoteName(target.table->name), " WHERE ", target.table->KeySql(), " = ?1");
}

std::string FindSql(const SqliteTarget& target) {
  return absl::StrCat("SELECT 1 FROM ", QuoteName(target.table->name), " WHERE ", target.table->KeySql(), " = ?1");
}

}  // namespace reembed
