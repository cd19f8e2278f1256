#include "io/store/libsql_backup.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/store/sqlite_backup.h"
#include "io/store/sqlite_db.h"

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
  absl::StatusOr<SqliteStatement> query = db.Prepare(sql);
  if (!query.ok()) return query.status();
  std::vector<std::vector<std::string>> rows;
  absl::StatusOr<bool> row = query->Step();
  for (; row.ok() && *row; row = query->Step()) {
    std::vector<std::string>& values = rows.emplace_back();
    for (int i = 0; i < columns; ++i) values.emplace_back(query->Text(i));
  }
  if (!row.ok()) return row.status();
  return rows;
}

absl::StatusOr<Schema> ReadSchema(const SqlDb& db) {
  absl::StatusOr<std::vector<std::vector<std::string>>> rows = TextRows(db, kSchema, 3);
  if (!rows.ok()) return rows.status();
  Schema schema;
  for (std::vector<std::string>& row : *rows) schema.push_back({row[0], row[1], row[2]});
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
    const auto columns =
        TextRows(db, absl::StrCat("SELECT name, hidden FROM pragma_table_xinfo(", SqlText(table.name), ")"), 2);
    if (!columns.ok()) return columns.status();
    bool has_rowid_column = false;
    for (const std::vector<std::string>& column : *columns) {
      if (column[1] == "0") table.columns.push_back(column[0]);
      has_rowid_column = has_rowid_column || absl::EqualsIgnoreCase(column[0], "rowid");
    }
    const auto without = TextRows(db, absl::StrCat("SELECT wr FROM pragma_table_list(", SqlText(table.name), ")"), 1);
    if (!without.ok()) return without.status();
    if (!without->empty() && (*without)[0][0] != "0") {
      const auto key = TextRows(
          db, absl::StrCat("SELECT name FROM pragma_table_xinfo(", SqlText(table.name), ") WHERE pk > 0 ORDER BY pk"),
          1);
      if (!key.ok()) return key.status();
      for (const std::vector<std::string>& column : *key) table.key.push_back(column[0]);
    } else {
      table.rowid = has_rowid_column ? "_rowid_" : "rowid";
      // An INTEGER PRIMARY KEY is the rowid; SQLite takes both if they are equal, which they are.
    }
    waiting.push_back(std::move(table));
  }
  while (!waiting.empty()) {
    bool moved = false;
    for (auto table = waiting.begin(); table != waiting.end();) {
      const auto parents =
          TextRows(db, absl::StrCat("SELECT \"table\" FROM pragma_foreign_key_list(", SqlText(table->name), ")"), 1);
      if (!parents.ok()) return parents.status();
      const bool ready = std::all_of(parents->begin(), parents->end(), [&](const std::vector<std::string>& parent) {
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
    absl::StatusOr<std::unique_ptr<HranaConnection>> connection =
        HranaConnection::Make(std::move(server), absl::ZeroDuration());
    if (!connection.ok()) return connection.status();
    std::unique_ptr<Snapshot> snapshot(new Snapshot(*std::move(connection)));
    HranaRows rows;
    if (absl::Status begun = snapshot->Query("BEGIN", {}, &rows); !begun.ok()) return begun;
    return snapshot;
  }

  absl::Status Query(absl::string_view sql, absl::Span<const SqliteValue> arguments, HranaRows* rows) {
    return connection_->QueryInStream(sql, arguments, &stream_, rows);
  }

  absl::StatusOr<Schema> ReadSchema() {
    HranaRows rows;
    if (absl::Status read = Query(kSchema, {}, &rows); !read.ok()) return read;
    Schema schema;
    for (size_t row = 0; row < rows.rows(); ++row) {
      const auto text = [&](size_t column) { return std::string(rows.values[row * rows.columns + column].bytes); };
      schema.push_back({text(0), text(1), text(2)});
    }
    return schema;
  }

  // Writes all rows of the table into the file. Answers are asked for in a size that the server sends.
  absl::Status Copy(const Table& table, const SqlDb& to) {
    absl::StatusOr<SqliteStatement> insert = to.Prepare(InsertSql(table));
    if (!insert.ok()) return insert.status();
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
      if (!read.ok()) return read;
      if (answer.rows() == 0) return absl::OkStatus();
      if (answer.columns != table.width()) {
        return absl::AbortedError(absl::StrCat(connection_->server().name, ": expected ", table.width(), " columns of ",
                                               table.name, ", got ", answer.columns));
      }
      for (size_t row = 0; row < answer.rows(); ++row) {
        for (size_t column = 0; column < answer.columns; ++column) {
          insert->BindValue(static_cast<int>(column) + 1, answer.values[row * answer.columns + column]);
        }
        if (absl::Status inserted = insert->Run(); !inserted.ok()) return inserted;
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
  const absl::StatusOr<std::unique_ptr<Snapshot>> snapshot = Snapshot::Begin(std::move(from));
  if (!snapshot.ok()) return snapshot.status();
  const absl::StatusOr<Schema> schema = (*snapshot)->ReadSchema();
  if (!schema.ok()) return schema.status();
  {
    const absl::StatusOr<std::unique_ptr<SqliteDb>> file = SqliteDb::Open(to, SqliteAccess::kCreate);
    if (!file.ok()) return file.status();
    if (absl::Status begun = (*file)->Exec("BEGIN"); !begun.ok()) return begun;
    if (absl::Status made = MakeTables(*schema, server, **file); !made.ok()) return made;
    absl::StatusOr<std::vector<Table>> tables = ReadTables(**file, *schema);
    if (!tables.ok()) return tables.status();
    if (HasSequence(*schema)) tables->push_back(SequenceTable());
    for (const Table& table : *tables) {
      if (absl::Status emptied = (*file)->Exec("DELETE FROM " + QuoteName(table.name)); !emptied.ok()) return emptied;
      if (absl::Status copied = (*snapshot)->Copy(table, **file); !copied.ok()) return copied;
    }
    for (const SchemaObject& object : *schema) {
      if (object.type == "table") continue;
      if (absl::Status made = (*file)->Exec(object.sql); !made.ok()) return CannotHold(server, object, made);
    }
    if (absl::Status committed = (*file)->Exec("COMMIT"); !committed.ok()) return committed;
  }
  // By a new connection: the first one's idea of the full-text tables is that of before.
  const absl::StatusOr<std::unique_ptr<SqliteDb>> file = SqliteDb::Open(to, SqliteAccess::kReadWrite);
  if (!file.ok()) return file.status();
  return CountSqliteRows(**file);
}

absl::Status CheckLibsqlIsEmpty(HranaServer to) {
  const std::string name = to.name;
  const absl::StatusOr<std::unique_ptr<HranaConnection>> connection =
      HranaConnection::Make(std::move(to), absl::ZeroDuration());
  if (!connection.ok()) return connection.status();
  HranaRows rows;
  if (absl::Status read = (*connection)->Query(kSchema, {}, &rows); !read.ok()) return read;
  std::vector<std::string> tables;
  for (size_t row = 0; row < rows.rows(); ++row) {
    tables.emplace_back(rows.values[row * rows.columns + 1].bytes);
    if (tables.back() == kMark) return absl::OkStatus();
  }
  if (tables.empty()) return absl::OkStatus();
  const size_t shown = std::min<size_t>(tables.size(), 5);
  return absl::FailedPreconditionError(
      absl::StrCat(name, ": is not empty (",
                   absl::StrJoin(tables.begin(), tables.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                   tables.size() > shown ? ", ..." : "",
                   "), and a libSQL server cannot replace it in one step; make a new database, ",
                   "restore into that with --db, and point TURSO_URL at it"));
}

namespace {

// Removes what a restore has made that was killed.
absl::Status CleanUp(HranaConnection* connection) {
  HranaRows rows;
  if (absl::Status read = connection->Query(kSchema, {}, &rows); !read.ok()) return read;
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
// good.
absl::Status Fill(const SqlDb& from, const Table& table, HranaConnection* to) {
  absl::StatusOr<SqliteStatement> rows =
      from.Prepare(absl::StrCat("SELECT ", table.Columns(), " FROM ", QuoteName(table.name)));
  if (!rows.ok()) return rows.status();
  HranaBatch batch(InsertSql(table));
  if (table.is_shadow || table.name == kSequence) batch.AddOther("DELETE FROM " + QuoteName(table.name));
  std::vector<HranaStep> steps;
  const auto send = [&]() -> absl::Status {
    if (batch.size() == 0) return absl::OkStatus();
    absl::Status sent = to->Transact(batch, &steps);
    for (const HranaStep& step : steps) {
      if (sent.ok()) sent = step.status;
    }
    batch.Clear();
    return sent;
  };
  std::vector<SqliteValue> values(table.width());
  absl::StatusOr<bool> row = rows->Step();
  for (; row.ok() && *row; row = rows->Step()) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = rows->Value(static_cast<int>(i));
    batch.Add(values);
    if (batch.size() < kTransactionRows && batch.size_bytes() < kTransactionBytes) continue;
    if (absl::Status sent = send(); !sent.ok()) return sent;
  }
  if (!row.ok()) return row.status();
  return send();
}

absl::Status CheckCounts(HranaConnection* connection, const RowCounts& rows) {
  RowCounts found;
  for (const auto& [table, count] : rows) {
    HranaRows answer;
    absl::Status read = connection->Query("SELECT count(*) FROM " + QuoteName(table), {}, &answer);
    if (!read.ok()) return read;
    found.emplace_back(table, answer.rows() == 1 ? answer.values[0].integer : -1);
  }
  const std::string difference = RowCountsDifference(rows, found);
  if (difference.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(connection->server().name, ": ", difference));
}

}  // namespace

absl::Status RestoreLibsql(const std::string& from, HranaServer to, const RowCounts& rows) {
  if (absl::Status empty = CheckLibsqlIsEmpty(to); !empty.ok()) return empty;
  const absl::StatusOr<std::unique_ptr<SqliteDb>> file = SqliteDb::Open(from, SqliteAccess::kUnchanging);
  if (!file.ok()) return file.status();
  const absl::StatusOr<Schema> schema = ReadSchema(**file);
  if (!schema.ok()) return schema.status();
  absl::StatusOr<std::vector<Table>> tables = ReadTables(**file, *schema);
  if (!tables.ok()) return tables.status();
  absl::StatusOr<std::unique_ptr<HranaConnection>> connection = HranaConnection::Make(std::move(to), kPatience);
  if (!connection.ok()) return connection.status();
  const auto run = [&](const std::string& sql) {
    HranaRows none;
    return (*connection)->Query(sql, {}, &none);
  };
  if (absl::Status cleaned = CleanUp(connection->get()); !cleaned.ok()) return cleaned;
  if (absl::Status marked = run(absl::StrCat("CREATE TABLE ", kMark, " (x)")); !marked.ok()) return marked;
  for (const SchemaObject& object : *schema) {
    if (object.type != "table" || IsShadow(*schema, object.name)) continue;
    if (absl::Status made = run(object.sql); !made.ok()) return made;
  }
  if (HasSequence(*schema)) tables->push_back(SequenceTable());
  for (const Table& table : *tables) {
    if (absl::Status filled = Fill(**file, table, connection->get()); !filled.ok()) return filled;
  }
  // Triggers last, so that none of them has seen these rows.
  for (const SchemaObject& object : *schema) {
    if (object.type == "table") continue;
    if (absl::Status made = run(object.sql); !made.ok()) return made;
  }
  if (absl::Status counted = CheckCounts(connection->get(), rows); !counted.ok()) return counted;
  return run(absl::StrCat("DROP TABLE ", kMark));
}

}  // namespace reembed
