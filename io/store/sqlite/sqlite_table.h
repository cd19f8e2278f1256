// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_TABLE_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_TABLE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/location.h"
#include "io/store/sqlite/sql_db.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/vector_encoding.h"

namespace reembed {

// What a location `sqlite:PATH?name=value&...`, or `libsql://HOST?...` (see libsql_db.h), asks for.
//   table         table or view (required)
//   key           column that names a row, or `rowid`; default: the primary key if it is one column, else rowid
//   null_key      `rowid`: rows whose key is NULL are named `rowid:N`, and come first; default: they are refused. Of a
//                 source that is not filled in place
//   text          column of the texts; or
//   template      how a text is made from several columns, see text_template.h (a source needs one of them)
//   vector        column of the vectors (a target needs it)
//   model_column  column that says which model made the vector; none by default
//   dim_column    column that says how many numbers the vector has; none by default
//   updated_column  column that gets the time of the change as JavaScript's toISOString has it,
//                 2026-01-31T12:00:00.000Z, in UTC; none by default, and then no time of the row is touched
//   encoding      form of the vectors, see vector_encoding.h; default f32
//   tls           of libsql://HOST:PORT: 0 for http
//   extension     of a file: an extension of SQLite to load, as sqlite-vec's vec0.so, which makes its tables usable
//   where         SQL condition that selects rows of the source
//   mode          of a target: `update` (default) fills a column of rows that are there; `upsert` adds rows that are
//                 not, and makes file and table when they are missing
//   set.COLUMN    of a target with mode=upsert: SQL for that column of a row that is added, where ?1 is the row's key:
//                 (SELECT tenant FROM notes WHERE id = ?1)
struct SqliteLocation {
  Location place;  // as given
  std::string path, table, key, text, text_template, vector, model_column, dim_column, updated_column, where;
  VectorEncoding encoding = VectorEncoding::kF32;
  enum class Mode { kUpdate, kUpsert } mode = Mode::kUpdate;
  bool names_null_keys = false;             // null_key=rowid
  std::map<std::string, std::string> sets;  // column -> SQL
};

// The database that sqlite:PATH or libsql:... names. Errors: as SqliteDb::Open, OpenLibsqlDb.
absl::StatusOr<std::unique_ptr<SqlDb>> OpenSqlDb(const Location& place, SqliteAccess access,
                                                 absl::Duration busy_timeout = absl::Seconds(5));

// The file that sqlite:PATH names, with its extension. Errors: as SqliteDb::Open, LoadExtension.
absl::StatusOr<std::unique_ptr<SqliteDb>> OpenSqliteFile(const Location& place, SqliteAccess access,
                                                         absl::Duration busy_timeout = absl::Seconds(5));

// Errors: kInvalidArgument (another scheme, an unknown parameter or value, no table).
absl::StatusOr<SqliteLocation> ParseSqliteLocation(const Location& location);

// A location checked against the database it names. Names are as the database spells them and not quoted.
struct SqliteTable {
  enum class Kind { kTable, kView, kVirtual };
  struct Column {
    std::string name;
    std::string type;  // as declared, in capitals
    bool not_null = false;
    bool generated = false;  // computed by the table, cannot be written
  };

  std::string path;
  std::string name;
  Kind kind = Kind::kTable;
  bool has_rowid = false;
  bool strict = false;  // columns take only values of their declared type
  std::vector<Column> columns;
  std::string key;  // a column, or the name under which the rowid goes here
  // The key is the rowid of a table without INTEGER PRIMARY KEY: VACUUM gives its rows other numbers, so no VACUUM may
  // come between the runs of a job.
  bool vacuum_changes_keys = false;
  bool key_may_be_null = false;
  std::string rowid_of_null_key;  // under which the rowid goes that names rows whose key is NULL; empty: nothing does
  bool key_may_repeat = false;    // only where nothing can promise it: a view, a column of a virtual table
  std::string key_index;          // unique index in whose order rows are read; empty: the table's own order
  std::string key_collation;      // of that index; empty: the key's own

  const Column* Find(absl::string_view column) const;  // null: it has none of that name
  std::string KeySql() const;                          // quoted, with collation
  // SQL: the row is the one that the key `parameter` names.
  std::string IsNamedSql(absl::string_view parameter) const;
};

// Finds table and key.
// Errors: kNotFound (no such table or key column; names the nearest one); kFailedPrecondition (the key is not unique,
// and what to use instead).
absl::StatusOr<SqliteTable> ResolveSqliteTable(const SqlDb& db, const SqliteLocation& asked);

// Whether there is a table, view or virtual table of that name.
absl::StatusOr<bool> HasSqliteTable(const SqlDb& db, absl::string_view name);

// The column as the table spells it. Errors: kNotFound (names the nearest one).
absl::StatusOr<std::string> ResolveSqliteColumn(const SqliteTable& table, absl::string_view parameter,
                                                absl::string_view column);

// Whether `where` is one condition over the table's columns, by compiling it. Errors: kInvalidArgument.
absl::Status CheckSqliteWhere(const SqlDb& db, const SqliteTable& table, absl::string_view where);

// `where` in parentheses, fit to be combined with other conditions; "1" when it is empty.
std::string WhereSql(absl::string_view where);

// SQL: the UTF-8 of `column` as a text, or bytes that are none; NULL if it is NULL. Of type text or blob, as it comes
// from `db` whatever it holds.
std::string TextBytesSql(const SqlDb& db, const SqliteTable& table, absl::string_view column);

// How rows are named by their rowid whose key is NULL.
inline constexpr absl::string_view kNullKeyPrefix = "rowid:";

// Errors: kFailedPrecondition (a row that `where` selects has no key and no name either, or the key of another row
// looks like such a name).
absl::Status CheckSqliteKeysPresent(const SqlDb& db, const SqliteTable& table, absl::string_view where);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_TABLE_H_
