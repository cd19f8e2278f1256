// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/libsql_backup.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_backup.h"
#include "io/store/sqlite/sqlite_db.h"

namespace reembed {
namespace {

constexpr int64_t kFirstRows = 64;
constexpr int64_t kMostRows = 4096;
constexpr size_t kShortAnswer = size_t{1} << 20;
constexpr size_t kTransactionBytes = size_t{1} << 20;
constexpr size_t kTransactionRows = 500;
constexpr absl::Duration kPatience = absl::Minutes(2);
// There while a restore is under way, so that the same command may clean up after one that was killed.
constexpr char kMark[] = "reembed_restore_unfinished";
constexpr int kTries = 3;

// What the schema has, without what SQLite and the server make by themselves.
constexpr char kSchema[] =
    "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND "
    "name "
    "NOT LIKE 'libsql\\_%' ESCAPE '\\' AND name NOT LIKE '\\_litestream\\_%' ESCAPE '\\' ORDER BY rowid";

struct SchemaObject {
  std::string type, name, sql;
  bool is_virtual() const { return absl::StartsWithIgnoreCase(sql, "CREATE VIRTUAL"); }
};
using Schema = std::vector<SchemaObject>;

// A table with rows of its own.
struct Table {
  std::string name;
  std::vector<std::string> columns;  // that hold values: generated ones do not
  std::vector<std::string> key;      // of a table without rowid
  std::string rowid;                 // what the rowid is called; empty: it has none, or is one of the columns
  bool is_shadow = false;            // of a virtual table, which has made it and put rows into it

  std::string Columns() const {
    std::vector<std::string> names;
    if (!rowid.empty()) names.push_back(rowid);
    for (const std::string& column : columns) names.push_back(QuoteName(column));
    return absl::StrJoin(names, ", ");
  }
  size_t width() const { return columns.size() + (rowid.empty() ? 0 : 1); }
};

absl::StatusOr<std::vector<std::vector<std::string>>> TextRows(const SqlDb& db, const std::string& sql, int columns) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement query, db.Prepare(sql));
  std::vector<std::vector<std::string>> rows;
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) {
    std::vector<std::string>& values = rows.emplace_back();
    for (int i = 0; i < columns; ++i) values.emplace_back(query.Text(i));
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return rows;
}

absl::StatusOr<Schema> ReadSchema(const SqlDb& db) {
  ABSL_ASSIGN_OR_RETURN(std::vector<std::vector<std::string>> rows, TextRows(db, kSchema, 3));
  Schema schema;
  for (std::vector<std::string>& row : rows) schema.push_back({row[0], row[1], row[2]});
  return schema;
}

// The shadow tables of the virtual ones, by name.
bool IsShadow(const Schema& schema, absl::string_view name) {
  return std::any_of(schema.begin(), schema.end(), [&](const SchemaObject& object) {
    return object.is_virtual() && absl::StartsWith(name, object.name + "_");
  });
}

std::string SqlText(absl::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted.append(c == '\'' ? 2 : 1, c);
  return quoted + "'";
}

// The tables of the file, each behind those that its foreign keys name.
absl::StatusOr<std::vector<Table>> ReadTables(const SqlDb& db, const Schema& schema) {
  std::vector<Table> waiting, tables;
  std::set<std::string> placed;
  for (const SchemaObject& object : schema) {
    if (object.type != "table" || object.is_virtual()) continue;
    Table table{.name = object.name, .is_shadow = IsShadow(schema, object.name)};
    ABSL_ASSIGN_OR_RETURN(
        const auto columns,
        TextRows(db, absl::StrCat("SELECT name, hidden FROM pragma_table_xinfo(", SqlText(table.name), ")"), 2));
    bool has_rowid_column = false;
    for (const std::vector<std::string>& column : columns) {
      if (column[1] == "0") table.columns.push_back(column[0]);
      has_rowid_column = has_rowid_column || absl::EqualsIgnoreCase(column[0], "rowid");
    }
    ABSL_ASSIGN_OR_RETURN(const auto without,
                          TextRows(db, absl::StrCat("SELECT wr FROM pragma_table_list(", SqlText(table.name), ")"), 1));
    if (!without.empty() && without[0][0] != "0") {
      ABSL_ASSIGN_OR_RETURN(const auto key, TextRows(db,
                                                     absl::StrCat("SELECT name FROM pragma_table_xinfo(",
                                                                  SqlText(table.name), ") WHERE pk > 0 ORDER BY pk"),
                                                     1));
      for (const std::vector<std::string>& column : key) table.key.push_back(column[0]);
    } else {
      table.rowid = has_rowid_column ? "_rowid_" : "rowid";
      // An INTEGER PRIMARY KEY is the rowid; SQLite takes both if they are equal, which they are.
    }
    waiting.push_back(std::move(table));
  }
  while (!waiting.empty()) {
    bool moved = false;
    for (auto table = waiting.begin(); table != waiting.end();) {
      ABSL_ASSIGN_OR_RETURN(
          const auto parents,
          TextRows(db, absl::StrCat("SELECT \"table\" FROM pragma_foreign_key_list(", SqlText(table->name), ")"), 1));
      const bool ready = std::all_of(parents.begin(), parents.end(), [&](const std::vector<std::string>& parent) {
        return absl::EqualsIgnoreCase(parent[0], table->name) || placed.count(parent[0]) > 0 ||
               std::none_of(waiting.begin(), waiting.end(), [&](const Table& t) { return t.name == parent[0]; });
      });
      if (!ready) {
        ++table;
        continue;
      }
      placed.insert(table->name);
      tables.push_back(std::move(*table));
      table = waiting.erase(table);
      moved = true;
    }
    if (moved) continue;
    tables.push_back(std::move(waiting.front()));  // they name each other in a circle
    waiting.erase(waiting.begin());
  }
  return tables;
}

std::string InsertSql(const Table& table) {
  std::string marks;
  for (size_t i = 0; i < table.width(); ++i) marks += i == 0 ? "?" : ", ?";
  return absl::StrCat("INSERT INTO ", QuoteName(table.name), " (", table.Columns(), ") VALUES (", marks, ")");
}

// One read transaction of a server.
class Snapshot {
 public:
  static absl::StatusOr<std::unique_ptr<Snapshot>> Begin(HranaServer server) {
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HranaConnection> connection,
                          HranaConnection::Make(std::move(server), absl::ZeroDuration()));
    std::unique_ptr<Snapshot> snapshot(new Snapshot(std::move(connection)));
    HranaRows rows;
    ABSL_RETURN_IF_ERROR(snapshot->Query("BEGIN", {}, &rows));
    return snapshot;
  }

  absl::Status Query(absl::string_view sql, absl::Span<const SqliteValue> arguments, HranaRows* rows) {
    return connection_->QueryInStream(sql, arguments, &stream_, rows);
  }

  absl::StatusOr<Schema> ReadSchema() {
    HranaRows rows;
    ABSL_RETURN_IF_ERROR(Query(kSchema, {}, &rows));
    Schema schema;
    for (size_t row = 0; row < rows.rows(); ++row) {
      const auto text = [&](size_t column) { return std::string(rows.values[row * rows.columns + column].bytes); };
      schema.push_back({text(0), text(1), text(2)});
    }
    return schema;
  }

  // Writes all rows of the table into the file. Answers are asked for in a size that the server sends.
  absl::Status Copy(const Table& table, const SqlDb& to) {
    ABSL_ASSIGN_OR_RETURN(SqliteStatement insert, to.Prepare(InsertSql(table)));
    std::vector<SqliteValue> after = {{.type = SqliteType::kInteger, .integer = INT64_MIN}};
    int64_t done = 0;
    while (true) {
      const std::string sql =
          table.rowid.empty()
              ? absl::StrCat("SELECT ", table.Columns(), " FROM ", QuoteName(table.name), " ORDER BY ",
                             absl::StrJoin(table.key, ", ",
                                           [](std::string* out, const std::string& name) { *out += QuoteName(name); }),
                             " LIMIT ", rows_, " OFFSET ", done)
              : absl::StrCat("SELECT ", table.Columns(), " FROM ", QuoteName(table.name), " WHERE ", table.rowid, " ",
                             done == 0 ? ">=" : ">", " ? ORDER BY ", table.rowid, " LIMIT ", rows_);
      HranaRows answer;
      absl::Status read = Query(sql, table.rowid.empty() ? absl::Span<const SqliteValue>() : after, &answer);
      if (absl::IsOutOfRange(read) && rows_ > 1) {
        rows_ = std::max<int64_t>(1, rows_ / 2);
        continue;
      }
      ABSL_RETURN_IF_ERROR(read);
      if (answer.rows() == 0) return absl::OkStatus();
      if (answer.columns != table.width()) {
        return absl::AbortedError(absl::StrCat(connection_->server().name, ": expected ", table.width(), " columns of ",
                                               table.name, ", got ", answer.columns));
      }
      for (size_t row = 0; row < answer.rows(); ++row) {
        for (size_t column = 0; column < answer.columns; ++column) {
          insert.BindValue(static_cast<int>(column) + 1, answer.values[row * answer.columns + column]);
        }
        ABSL_RETURN_IF_ERROR(insert.Run());
      }
      done += static_cast<int64_t>(answer.rows());
      after[0].integer = answer.values[(answer.rows() - 1) * answer.columns].integer;
      if (answer.answer_bytes < kShortAnswer) rows_ = std::min(kMostRows, 2 * rows_);
    }
  }

 private:
  explicit Snapshot(std::unique_ptr<HranaConnection> connection) : connection_(std::move(connection)) {}

  const std::unique_ptr<HranaConnection> connection_;
  HranaStream stream_;
  int64_t rows_ = kFirstRows;
};

// sqlite_sequence is there when a table with AUTOINCREMENT is.
bool HasSequence(const Schema& schema) {
  return std::any_of(schema.begin(), schema.end(), [](const SchemaObject& object) {
    return object.type == "table" && absl::StrContains(absl::AsciiStrToUpper(object.sql), "AUTOINCREMENT");
  });
}

constexpr char kSequence[] = "sqlite_sequence";

Table SequenceTable() { return {.name = kSequence, .columns = {"name", "seq"}, .rowid = "rowid"}; }

absl::Status CannotHold(const std::string& server, const SchemaObject& object, const absl::Status& why) {
  return absl::FailedPreconditionError(
      absl::StrCat(server, ": the ", object.type, " ", object.name, " cannot be in an SQLite file (", why.message(),
                   "); drop it for the time of the backup, or use the server's own export"));
}

// The tables of the schema, empty; what belongs to virtual ones is made by these.
absl::Status MakeTables(const Schema& schema, const std::string& server, const SqlDb& to) {
  for (const SchemaObject& object : schema) {
    if (object.type != "table" || IsShadow(schema, object.name)) continue;
    if (absl::Status made = to.Exec(object.sql); !made.ok()) return CannotHold(server, object, made);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RowCounts> BackUpLibsql(HranaServer from, const std::string& to) {
  const std::string server = from.name;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot, Snapshot::Begin(std::move(from)));
  ABSL_ASSIGN_OR_RETURN(const Schema schema, snapshot->ReadSchema());
  {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> file, SqliteDb::Open(to, SqliteAccess::kCreate));
    ABSL_RETURN_IF_ERROR(file->Exec("BEGIN"));
    ABSL_RETURN_IF_ERROR(MakeTables(schema, server, *file));
    ABSL_ASSIGN_OR_RETURN(std::vector<Table> tables, ReadTables(*file, schema));
    if (HasSequence(schema)) tables.push_back(SequenceTable());
    for (const Table& table : tables) {
      ABSL_RETURN_IF_ERROR(file->Exec("DELETE FROM " + QuoteName(table.name)));
      ABSL_RETURN_IF_ERROR(snapshot->Copy(table, *file));
    }
    for (const SchemaObject& object : schema) {
      if (object.type == "table") continue;
      if (absl::Status made = file->Exec(object.sql); !made.ok()) return CannotHold(server, object, made);
    }
    ABSL_RETURN_IF_ERROR(file->Exec("COMMIT"));
  }
  // By a new connection: the first one's idea of the full-text tables is that of before.
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> file, SqliteDb::Open(to, SqliteAccess::kReadWrite));
  return CountSqliteRows(*file);
}

absl::Status CheckLibsqlIsEmpty(HranaServer to) {
  const std::string name = to.name;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<HranaConnection> connection,
                        HranaConnection::Make(std::move(to), absl::ZeroDuration()));
  HranaRows rows;
  ABSL_RETURN_IF_ERROR(connection->Query(kSchema, {}, &rows));
  std::vector<std::string> tables;
  for (size_t row = 0; row < rows.rows(); ++row) {
    tables.emplace_back(rows.values[row * rows.columns + 1].bytes);
    if (tables.back() == kMark) return absl::OkStatus();
  }
  if (tables.empty()) return absl::OkStatus();
  const size_t shown = std::min<size_t>(tables.size(), 5);
  return WithSetting(absl::FailedPreconditionError(absl::StrCat(
                         name, ": is not empty (",
                         absl::StrJoin(tables.begin(), tables.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                         tables.size() > shown ? ", ..." : "",
                         "), and a libSQL server cannot replace it in one step; make a new database, ",
                         "restore into that, and point TURSO_URL at it")),
                     Setting::kDatabase);
}

namespace {

// Removes what a restore has made that was killed.
absl::Status CleanUp(HranaConnection* connection) {
  HranaRows rows;
  ABSL_RETURN_IF_ERROR(connection->Query(kSchema, {}, &rows));
  Schema schema;
  for (size_t row = 0; row < rows.rows(); ++row) {
    const auto text = [&](size_t column) { return std::string(rows.values[row * rows.columns + column].bytes); };
    schema.push_back({text(0), text(1), text(2)});
  }
  const bool marked =
      std::any_of(schema.begin(), schema.end(), [](const auto& object) { return object.name == kMark; });
  if (!marked) return absl::OkStatus();
  // Children before their parents; the mark goes last.
  std::reverse(schema.begin(), schema.end());
  std::stable_partition(schema.begin(), schema.end(), [](const auto& object) { return object.name != kMark; });
  // What goes with another: the mark is not among it.
  schema.erase(std::remove_if(schema.begin(), schema.end(),
                              [&, all = schema](const SchemaObject& object) {
                                return object.type == "index" || (object.type == "table" && IsShadow(all, object.name));
                              }),
               schema.end());
  // A table that others refer to cannot go before these: again, as long as something goes.
  while (!schema.empty()) {
    Schema left;
    absl::Status failure;
    for (const SchemaObject& object : schema) {
      if (object.name == kMark && !left.empty()) {
        left.push_back(object);
        break;
      }
      HranaRows none;
      absl::Status dropped =
          connection->Query(absl::StrCat("DROP ", object.type, " IF EXISTS ", QuoteName(object.name)), {}, &none);
      if (dropped.ok()) continue;
      failure.Update(dropped);
      left.push_back(object);
    }
    if (left.size() == schema.size()) return failure;
    schema = std::move(left);
  }
  return absl::OkStatus();
}

// What the table has already goes in the transaction of the first new rows: without its own rows a full text index,
// say, cannot even be dropped ("vtable constructor failed"), and a kill between the two would leave it like that for
// good. `filled`: told of rows that are there since it was told last.
absl::Status Fill(const SqlDb& from, const Table& table, HranaConnection* to,
                  absl::FunctionRef<void(int64_t rows)> filled) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement rows,
                        from.Prepare(absl::StrCat("SELECT ", table.Columns(), " FROM ", QuoteName(table.name))));
  HranaBatch batch(InsertSql(table));
  if (table.is_shadow || table.name == kSequence) batch.AddOther("DELETE FROM " + QuoteName(table.name));
  std::vector<HranaStep> steps;
  int64_t waiting = 0;
  const auto send = [&]() -> absl::Status {
    if (batch.size() == 0) return absl::OkStatus();
    absl::Status sent = to->Transact(batch, &steps);
    for (const HranaStep& step : steps) {
      if (sent.ok()) sent = step.status;
    }
    batch.Clear();
    filled(std::exchange(waiting, 0));
    return sent;
  };
  std::vector<SqliteValue> values(table.width());
  absl::StatusOr<bool> row = rows.Step();
  for (; row.ok() && *row; row = rows.Step()) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = rows.Value(static_cast<int>(i));
    batch.Add(values);
    ++waiting;
    if (batch.size() < kTransactionRows && batch.size_bytes() < kTransactionBytes) continue;
    ABSL_RETURN_IF_ERROR(send());
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return send();
}

absl::Status CheckCounts(HranaConnection* connection, const RowCounts& rows) {
  RowCounts found;
  for (const auto& [table, count] : rows) {
    HranaRows answer;
    ABSL_RETURN_IF_ERROR(connection->Query("SELECT count(*) FROM " + QuoteName(table), {}, &answer));
    found.emplace_back(table, answer.rows() == 1 ? answer.values[0].integer : -1);
  }
  const std::string difference = RowCountsDifference(rows, found);
  if (difference.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(connection->server().name, ": ", difference));
}

// Into a database that is empty, or has what is left of a restore that was killed.
absl::Status FillFromFile(const SqliteDb& file, const Schema& schema, std::vector<Table> tables, const RowCounts& rows,
                          RestoreProgress told, HranaConnection* connection) {
  int64_t done = 0, total = 0;
  for (const auto& [table, count] : rows) total += count;
  const auto run = [&](const std::string& sql) {
    HranaRows none;
    return connection->Query(sql, {}, &none);
  };
  ABSL_RETURN_IF_ERROR(CleanUp(connection));
  ABSL_RETURN_IF_ERROR(run(absl::StrCat("CREATE TABLE ", kMark, " (x)")));
  for (const SchemaObject& object : schema) {
    if (object.type != "table" || IsShadow(schema, object.name)) continue;
    ABSL_RETURN_IF_ERROR(run(object.sql));
  }
  if (HasSequence(schema)) tables.push_back(SequenceTable());
  for (const Table& table : tables) {
    // What belongs to another table is not among the rows that the backup has counted.
    const bool counts = !table.is_shadow && table.name != kSequence;
    ABSL_RETURN_IF_ERROR(Fill(file, table, connection, [&](int64_t more) {
      if (counts) told(kPuttingBack, done += more, total, RestoreUnit::kRows);
    }));
  }
  // Triggers last, so that none of them has seen these rows.
  for (const SchemaObject& object : schema) {
    if (object.type == "table") continue;
    ABSL_RETURN_IF_ERROR(run(object.sql));
  }
  ABSL_RETURN_IF_ERROR(CheckCounts(connection, rows));
  return run(absl::StrCat("DROP TABLE ", kMark));
}

}  // namespace

absl::Status RestoreLibsql(const std::string& from, HranaServer to, const RowCounts& rows, RestoreProgress told) {
  ABSL_RETURN_IF_ERROR(CheckLibsqlIsEmpty(to));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<SqliteDb> file, SqliteDb::Open(from, SqliteAccess::kUnchanging));
  ABSL_ASSIGN_OR_RETURN(const Schema schema, ReadSchema(*file));
  ABSL_ASSIGN_OR_RETURN(std::vector<Table> tables, ReadTables(*file, schema));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HranaConnection> connection, HranaConnection::Make(std::move(to), kPatience));
  absl::Status status;
  for (int tries = 0; tries < kTries; ++tries) {
    status = FillFromFile(*file, schema, tables, rows, told, connection.get());
    // The last statement of a restore that was killed may come to the server behind our look at what is there.
    if (!absl::StrContains(status.message(), "already exists")) break;
  }
  return status;
}

}  // namespace reembed
