// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_TABLE_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_TABLE_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/key.h"
#include "engine/location.h"
#include "io/store/postgres/postgres_connection.h"

namespace reembed {

// What a location `postgres://user@host:port/database?name=value&...` asks for. What is not in this list is one of
// libpq's own parameters (sslmode, host, connect_timeout, ...); a password is refused, since locations are written
// down.
//   table         table, view or materialized view (required)
//   schema        of it; default: where the search path finds it
//   key           column that names a row: integer, text or uuid; default: the primary key if it is one column
//   text          column of the texts; or
//   template      how a text is made from several columns, see text_template.h (a source needs one of them)
//   vector        column of the vectors (a target needs it)
//   model_column  column that says which model made the vector; none by default
//   type          form of the vectors, see postgres_vector.h; default: what the column's type suggests, else vector
//   encoding      what a column of type bytea holds: f32 (default), as type=bytea, or json, as type=json; columns of
//                 other types say it themselves, so this may stand where the type is not known beforehand
//   where         SQL condition that selects rows of the source
//   needed        SQL condition of rows whose readers fail when one of them lacks a vector; the survey counts those
//   mode          of a target: `update` (default) fills a column of rows that are there; `upsert` adds rows that are
//                 not, and makes the table when it is missing; `insert` adds whole rows, see postgres_import.h for it
//                 and its parameters origin, fields, set.COLUMN and schema_file
//   new_column    of a target: fill this column instead and swap the names at the end; the old one becomes VECTOR_old
//   triggers      of a target: `fire` (default); `skip`: none of the table's triggers sees the change; `auto`: `skip`
//                 where the user may, else `fire`
//   index         of a target: index to build at the end: hnsw, ivfflat; default none. What is there stays and grows
//                 with every row, or with `rebuild` is dropped before and built again at the end
//   metric        of that index: cosine (default), l2, ip
struct PostgresLocation {
  PostgresAddress address;
  std::string table, schema, key, text, text_template, vector, model_column, type, encoding, where, needed, new_column,
      index, metric;
  enum class Mode { kUpdate, kUpsert, kInsert } mode = Mode::kUpdate;
  enum class Triggers { kFire, kSkip, kAuto } triggers = Triggers::kFire;
  // Of mode=insert.
  std::string origin, schema_file;
  std::vector<std::string> fields;
  std::map<std::string, std::string> sets;  // column -> SQL
};

// Errors: kInvalidArgument (another scheme, an unknown parameter or value, a password, no table).
absl::StatusOr<PostgresLocation> ParsePostgresLocation(const Location& location);

// A location checked against the catalog of its database. Names are as the database spells them and not quoted.
struct PostgresTable {
  struct Column {
    std::string name;
    std::string type;       // as SQL writes it, e.g. `character varying(20)`, `vector(3)`
    std::string base_type;  // its name in pg_type: varchar, vector; of a domain that beneath it
    int modifier = -1;      // atttypmod: of vector its width; of a domain that beneath it
    bool not_null = false;
    bool generated = false;  // computed by the table, cannot be written
    std::string comment;
  };
  enum class KeyKind { kInteger, kText, kUuid };

  std::string database;  // name for messages
  std::string schema, name;
  bool is_table = false;  // a table, partitioned or foreign ones too; else a view
  std::vector<Column> columns;
  std::string key;
  KeyKind key_kind = KeyKind::kInteger;
  int key_bytes = 8;  // of an integer key
  bool key_may_be_null = false;
  bool key_may_repeat = false;   // only where nothing can promise it: a view or a foreign table
  std::string extension_schema;  // where pgvector's types are; empty: the extension is not installed
  std::string rows_sql;          // a subquery that stands for the table; empty: it stands for itself

  const Column* Find(absl::string_view column) const;  // null: it has none of that name
  std::string Sql() const;                             // "schema"."table", or rows_sql
  std::string KeySql() const;                          // quoted
  std::string KeyResultSql() const;  // in a result in binary form: eight bytes for an integer, else text
  // For statements over many keys: the parameter $1 as their array, and an element of it as one of the key's own type,
  // so that its index serves.
  std::string KeysSql() const;
  std::string KeyOfSql(absl::string_view element) const;
  std::string Message(absl::string_view what) const;  // database: table `name`: what
};

// Finds table and key.
// Errors: kNotFound (no such table or key column; names the nearest one); kFailedPrecondition (the key is not unique);
// kInvalidArgument (no key, or one of another type).
absl::StatusOr<PostgresTable> ResolvePostgresTable(PostgresConnection* connection, const PostgresLocation& asked);

// The column as the table spells it. Errors: kNotFound (names the nearest one).
absl::StatusOr<std::string> ResolvePostgresColumn(const PostgresTable& table, absl::string_view parameter,
                                                  absl::string_view column);

// Whether the user may do so. Errors: kPermissionDenied, with the GRANT that is missing.
absl::Status CheckPostgresRight(PostgresConnection* connection, const PostgresTable& table, absl::string_view right,
                                absl::string_view column);

// Where row-level security filters what this user sees of a table.
struct PostgresRowSecurity {
  bool is_active = false;
  int64_t rows_known = -1;  // that the statistics count in all, roughly; -1: they do not know
};
absl::StatusOr<PostgresRowSecurity> FindPostgresRowSecurity(PostgresConnection* connection, const PostgresTable& table);

// Whether `where` is one condition over the table's columns. Errors: kInvalidArgument.
absl::Status CheckPostgresWhere(PostgresConnection* connection, const PostgresTable& table, absl::string_view where);

// `where` in parentheses, fit to be combined with other conditions; "true" when it is empty.
std::string PostgresWhereSql(absl::string_view where);

// Errors: kFailedPrecondition (a row that `where` selects has no key, or two have the same).
absl::Status CheckPostgresKeys(PostgresConnection* connection, const PostgresTable& table, absl::string_view where);

// `key` as a parameter in text form, for comparison with the key column; nullopt: no row can have this key.
std::optional<std::string> PostgresKeyText(const PostgresTable& table, KeyView key);

// The key of row 0, column 0 of a result in binary form with KeyResultSql() there. The view lives as long as `row`.
KeyView PostgresKeyOf(const PostgresTable& table, const PostgresRows& row);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_TABLE_H_
