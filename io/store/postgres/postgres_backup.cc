// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_backup.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/counted.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_writer.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/mapped_file.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"

namespace reembed {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr char kTablesFile[] = "postgres/tables.jsonl";

struct Column {
  std::string name, type;
  friend bool operator==(const Column&, const Column&) = default;
};

struct Table {
  std::string schema, name, file;
  std::vector<Column> columns;  // that can be written
  int64_t rows = 0;

  std::string Name() const { return absl::StrCat(QuotePostgresName(schema), ".", QuotePostgresName(name)); }
  std::string Columns() const {
    return absl::StrJoin(columns, ", ",
                         [](std::string* out, const Column& column) { *out += QuotePostgresName(column.name); });
  }
};

absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const PostgresTables& tables, bool read_only) {
  Location place = tables.place;
  place.parameters.emplace("table", "any");
  ABSL_ASSIGN_OR_RETURN(const PostgresLocation parsed, ParsePostgresLocation(place));
  return PostgresConnection::Open(parsed.address, {.read_only = read_only, .patience = absl::ZeroDuration()});
}

absl::Status FindColumns(PostgresConnection* connection, Table* table) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows rows,
      connection->Query(
          absl::StrCat("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ",
                       QuotePostgresText(table->Name()),
                       "::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ", "'' ORDER BY attnum")));
  for (int row = 0; row < rows.size(); ++row) table->columns.push_back({rows.Text(row, 0), rows.Text(row, 1)});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Table>> FindTables(PostgresConnection* connection, const PostgresTables& asked) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows rows,
      connection->Query(absl::StrCat(
          "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname "
          "= ",
          QuotePostgresText(asked.schema),
          asked.tables.empty() ? ""
                               : absl::StrCat(" AND relname IN (",
                                              absl::StrJoin(asked.tables, ", ",
                                                            [](std::string* out, const std::string& name) {
                                                              *out += QuotePostgresText(name);
                                                            }),
                                              ")"),
          // What an extension made is the extension's.
          " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY relname")));
  if (rows.size() == 0) {
    return absl::NotFoundError(
        absl::StrCat(connection->name(), ": the schema ", asked.schema, " has no ",
                     asked.tables.empty() ? "tables" : absl::StrCat("table ", absl::StrJoin(asked.tables, " or ")),
                     "; name another with ?schema= or ?table="));
  }
  std::vector<Table> tables;
  for (int row = 0; row < rows.size(); ++row) {
    Table& table = tables.emplace_back(Table{.schema = asked.schema, .name = rows.Text(row, 0)});
    const bool plain = std::all_of(table.name.begin(), table.name.end(),
                                   [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; });
    table.file = absl::StrCat("postgres/", plain ? table.name : absl::StrCat("table.", row), ".copy");
    ABSL_RETURN_IF_ERROR(FindColumns(connection, &table));
  }
  return tables;
}

absl::Status CopyOut(PostgresConnection* connection, const Table& table, const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToWrite(path));
  int64_t bytes = 0;
  std::string waiting;
  const auto write = [&]() -> absl::Status {
    absl::Status written = file.WriteAt(bytes, waiting);
    bytes += static_cast<int64_t>(waiting.size());
    waiting.clear();
    return written;
  };
  ABSL_RETURN_IF_ERROR(
      connection->CopyOut(absl::StrCat("COPY ", table.Name(), " (", table.Columns(), ") TO STDOUT (FORMAT BINARY)"),
                          [&](absl::string_view piece) {
                            absl::StrAppend(&waiting, piece);
                            return waiting.size() < kPieceBytes ? absl::OkStatus() : write();
                          }));
  return write();
}

std::string TableJson(const Table& table) {
  std::vector<std::string> columns;
  for (const Column& column : table.columns) {
    columns.push_back(JsonWriter().Add("name", column.name).Add("type", column.type).ToString());
  }
  return JsonWriter()
             .Add("schema", table.schema)
             .Add("table", table.name)
             .Add("file", table.file)
             .Add("rows", table.rows)
             .AddRaw("columns", JsonArray(columns))
             .ToString() +
         "\n";
}

bool TakeTable(absl::string_view line, Table* table) {
  const std::optional<JsonObject> object = JsonObject::Parse(line);
  if (!object.has_value() || !object->Take("schema", &table->schema) || !object->Take("table", &table->name) ||
      !object->Take("file", &table->file) || !object->Take("rows", &table->rows)) {
    return false;
  }
  const std::optional<std::vector<absl::string_view>> columns = JsonElements(object->Raw("columns"));
  if (!columns.has_value()) return false;
  for (const absl::string_view each : *columns) {
    const std::optional<JsonObject> column = JsonObject::Parse(each);
    Column& added = table->columns.emplace_back();
    if (!column.has_value() || !column->Take("name", &added.name) || !column->Take("type", &added.type)) return false;
  }
  return true;
}

// The tables whose files are among the parts.
absl::StatusOr<std::vector<Table>> ReadTables(const std::string& dir, const std::vector<BackupPart>& parts,
                                              const PostgresTables& to) {
  const std::string path = absl::StrCat(dir, "/", kTablesFile);
  ABSL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  std::vector<Table> tables;
  for (const absl::string_view line : absl::StrSplit(file.bytes(), '\n', absl::SkipEmpty())) {
    Table table;
    if (!TakeTable(line, &table)) {
      return absl::DataLossError(absl::StrCat(path, ": a line is not whole; this backup cannot be trusted"));
    }
    const auto has_file = [&](const BackupPart& part) { return part.file == table.file; };
    if (std::none_of(parts.begin(), parts.end(), has_file)) continue;
    table.schema = to.schema;
    tables.push_back(std::move(table));
  }
  return tables;
}

// Each behind those that its foreign keys name.
absl::Status SortTables(PostgresConnection* connection, std::vector<Table>* tables) {
  ABSL_ASSIGN_OR_RETURN(const PostgresRows rows,
                        connection->Query("SELECT conrelid::regclass::oid::text, confrelid::regclass::oid::text FROM "
                                          "pg_constraint WHERE contype = 'f' AND "
                                          "conrelid <> confrelid"));
  std::vector<std::pair<Table, std::string>> waiting;
  for (Table& table : *tables) {
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows oid,
        connection->Query(absl::StrCat("SELECT ", QuotePostgresText(table.Name()), "::regclass::oid::text")));
    waiting.emplace_back(std::move(table), oid.Text(0, 0));
  }
  tables->clear();
  while (!waiting.empty()) {
    auto next = std::find_if(waiting.begin(), waiting.end(), [&](const auto& child) {
      for (int row = 0; row < rows.size(); ++row) {
        if (rows.Text(row, 0) != child.second) continue;
        const std::string parent = rows.Text(row, 1);
        if (std::any_of(waiting.begin(), waiting.end(), [&](const auto& each) { return each.second == parent; })) {
          return false;
        }
      }
      return true;
    });
    if (next == waiting.end()) next = waiting.begin();  // they name each other in a circle
    tables->push_back(std::move(next->first));
    waiting.erase(next);
  }
  return absl::OkStatus();
}

absl::Status CheckColumns(PostgresConnection* connection, const Table& table) {
  Table found{.schema = table.schema, .name = table.name};
  ABSL_RETURN_IF_ERROR(FindColumns(connection, &found));
  if (found.columns == table.columns) return absl::OkStatus();
  const auto words = [](const std::vector<Column>& columns) {
    return absl::StrJoin(columns, ", ", [](std::string* out, const Column& column) {
      absl::StrAppend(out, column.name, " ", column.type);
    });
  };
  return absl::FailedPreconditionError(absl::StrCat(connection->name(), ": ", table.Name(), ": expected the columns ",
                                                    words(table.columns), ", got ", words(found.columns),
                                                    "; give the table these columns, then run this again"));
}

// Names of the triggers that an INSERT would fire.
absl::StatusOr<std::vector<std::string>> InsertTriggers(PostgresConnection* connection, const Table& table) {
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows rows,
      connection->Query(absl::StrCat("SELECT tgname FROM pg_trigger WHERE tgrelid = ", QuotePostgresText(table.Name()),
                                     "::regclass AND NOT tgisinternal AND tgenabled = 'O' AND tgtype & 4 <> 0")));
  std::vector<std::string> names;
  names.reserve(rows.size());
  for (int row = 0; row < rows.size(); ++row) names.push_back(QuotePostgresName(rows.Text(row, 0)));
  return names;
}

// `read`: told how many bytes of the file the server has taken so far.
absl::Status CopyIn(PostgresConnection* connection, const Table& table, const std::string& path,
                    absl::FunctionRef<void(int64_t bytes)> read) {
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(path));
  int64_t offset = 0;
  absl::Status failure;
  absl::Status copied =
      connection->CopyIn(absl::StrCat("COPY ", table.Name(), " (", table.Columns(), ") FROM STDIN (FORMAT BINARY)"),
                         [&](std::string* piece) {
                           piece->resize(kPieceBytes);
                           const absl::StatusOr<size_t> got = file.ReadAt(offset, absl::MakeSpan(*piece));
                           failure.Update(got.status());
                           piece->resize(got.ok() ? *got : 0);
                           read(offset);
                           offset += static_cast<int64_t>(piece->size());
                           return !piece->empty();
                         });
  ABSL_RETURN_IF_ERROR(failure);
  return copied;
}

// Sequences never go back: others may have taken numbers of them.
absl::Status AdvanceSequences(PostgresConnection* connection, const Table& table) {
  for (const Column& column : table.columns) {
    ABSL_ASSIGN_OR_RETURN(
        const PostgresRows found,
        connection->Query(absl::StrCat("SELECT pg_get_serial_sequence(", QuotePostgresText(table.Name()), ", ",
                                       QuotePostgresText(column.name), ")")));
    if (found.IsNull(0, 0)) continue;
    const std::string sequence = found.Text(0, 0);
    ABSL_RETURN_IF_ERROR(
        connection
            ->Query(absl::StrCat("SELECT setval(", QuotePostgresText(sequence), ", m) FROM (SELECT max(",
                                 QuotePostgresName(column.name), ") m FROM ", table.Name(), ") t, ", sequence,
                                 " s WHERE m > s.last_value OR (m = s.last_value AND NOT s.is_called)"))
            .status());
  }
  return absl::OkStatus();
}

absl::Status Replace(PostgresConnection* connection, const std::string& dir, const std::vector<Table>& tables,
                     RestoreProgress told) {
  std::vector<std::string> names;
  int64_t total = 0, before = 0;
  for (const Table& table : tables) {
    names.push_back(table.Name());
    ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(absl::StrCat(dir, "/", table.file)));
    ABSL_ASSIGN_OR_RETURN(const int64_t bytes, file.Size());
    total += bytes;
  }
  absl::Status emptied =
      connection->Run(absl::StrCat("SET LOCAL lock_timeout = '5s'; TRUNCATE ", absl::StrJoin(names, ", ")));
  if (absl::StrContains(emptied.message(), "referenced in a foreign key")) {
    // Emptying those too, or leaving them with references to nothing, is not ours to decide.
    return absl::FailedPreconditionError(
        absl::StrCat(emptied.message(),
                     "; a table that is not in the backup refers to one that is: drop its constraint for the time ",
                     "of the restore"));
  }
  ABSL_RETURN_IF_ERROR(emptied);
  for (const Table& table : tables) {
    ABSL_RETURN_IF_ERROR(CheckColumns(connection, table));
    ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> triggers, InsertTriggers(connection, table));
    const auto switch_triggers = [&](absl::string_view how) -> absl::Status {
      for (const std::string& trigger : triggers) {
        const std::string sql = absl::StrCat("ALTER TABLE ", table.Name(), " ", how, " TRIGGER ", trigger);
        ABSL_RETURN_IF_ERROR(connection->Run(sql));
      }
      return absl::OkStatus();
    };
    ABSL_RETURN_IF_ERROR(switch_triggers("DISABLE"));
    int64_t bytes = 0;
    ABSL_RETURN_IF_ERROR(CopyIn(connection, table, absl::StrCat(dir, "/", table.file), [&](int64_t read) {
      bytes = read;
      told(kPuttingBack, before + read, total, RestoreUnit::kBytes);
    }));
    before += bytes;
    // Deferred checks would keep the next ALTER TABLE waiting.
    ABSL_RETURN_IF_ERROR(switch_triggers("ENABLE"));
    ABSL_ASSIGN_OR_RETURN(const PostgresRows count, connection->Query("SELECT count(*) FROM " + table.Name()));
    if (count.Int(0, 0) != table.rows) {
      return absl::DataLossError(absl::StrCat(connection->name(), ": ", table.Name(), ": expected ", table.rows,
                                              " rows, got ", count.Int(0, 0)));
    }
    ABSL_RETURN_IF_ERROR(AdvanceSequences(connection, table));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PostgresTables> ParsePostgresTables(const Location& place) {
  PostgresTables tables{.place = place, .schema = place.Get("schema", "public")};
  tables.place.parameters.erase("tables");
  const std::string names = place.Get("tables", place.Get("table"));
  if (!names.empty()) tables.tables = absl::StrSplit(names, ',');
  Location whole = tables.place;
  whole.parameters.emplace("table", "any");
  ABSL_RETURN_IF_ERROR(ParsePostgresLocation(whole).status());
  return tables;
}

absl::StatusOr<std::vector<BackupPart>> BackUpPostgres(
    const PostgresTables& from, absl::FunctionRef<absl::StatusOr<std::string>(const std::string& file)> path_of) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> connection, Open(from, true));
  ABSL_RETURN_IF_ERROR(connection->Begin("ISOLATION LEVEL REPEATABLE READ READ ONLY"));
  ABSL_ASSIGN_OR_RETURN(std::vector<Table> tables, FindTables(connection.get(), from));
  std::vector<BackupPart> parts;
  std::string facts;
  for (Table& table : tables) {
    ABSL_ASSIGN_OR_RETURN(const std::string path, path_of(table.file));
    ABSL_RETURN_IF_ERROR(CopyOut(connection.get(), table, path));
    ABSL_ASSIGN_OR_RETURN(const PostgresRows count, connection->Query("SELECT count(*) FROM " + table.Name()));
    table.rows = count.Int(0, 0);
    facts += TableJson(table);
    parts.push_back({.file = table.file, .rows = {{absl::StrCat(table.schema, ".", table.name), table.rows}}});
  }
  ABSL_ASSIGN_OR_RETURN(const std::string path, path_of(kTablesFile));
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToWrite(path));
  ABSL_RETURN_IF_ERROR(file.WriteAt(0, facts));
  parts.push_back({.file = kTablesFile});
  // A connection that ends in a transaction costs a pooler the server's connection.
  ABSL_RETURN_IF_ERROR(connection->Run("COMMIT"));
  return parts;
}

absl::StatusOr<std::string> DescribePostgres(const std::string& dir, const std::vector<BackupPart>& parts,
                                             const PostgresTables& to) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<Table> tables, ReadTables(dir, parts, to));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> connection, Open(to, true));
  std::vector<std::string> words;
  for (const Table& table : tables) {
    ABSL_RETURN_IF_ERROR(CheckColumns(connection.get(), table));
    ABSL_ASSIGN_OR_RETURN(const PostgresRows count, connection->Query("SELECT count(*) FROM " + table.Name()));
    words.push_back(absl::StrCat(table.Name(), " (", Counted(count.Int(0, 0), "row", "rows"), ")"));
  }
  return absl::StrCat(connection->name(), " ", absl::StrJoin(words, ", "));
}

absl::Status RestorePostgres(const std::string& dir, const std::vector<BackupPart>& parts, const PostgresTables& to,
                             RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(std::vector<Table> tables, ReadTables(dir, parts, to));
  if (tables.empty()) return absl::NotFoundError(absl::StrCat(dir, ": has no table among what was asked for"));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresConnection> connection, Open(to, false));
  ABSL_RETURN_IF_ERROR(SortTables(connection.get(), &tables));
  ABSL_RETURN_IF_ERROR(connection->Begin());
  // On failure the connection ends, and with it the transaction.
  ABSL_RETURN_IF_ERROR(Replace(connection.get(), dir, tables, told));
  return connection->Run("COMMIT");
}

}  // namespace reembed
