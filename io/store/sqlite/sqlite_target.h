// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_TARGET_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_TARGET_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"
#include "engine/table_sink.h"
#include "io/store/sqlite/sql_db.h"
#include "io/store/sqlite/sqlite_table.h"

namespace reembed {

// A table to fill, as far as it is there: what the sinks of files and of servers have in common.
struct SqliteTarget {
  SqliteLocation asked;              // with the names that mode=upsert has for what is not named
  std::optional<SqliteTable> table;  // nullopt: the table is to be made
  std::vector<std::string> missing_columns;
  std::vector<std::string> changes;  // SQL that makes what is missing, one statement each
  bool lacks_vector = false;         // nothing of an earlier run is there
  // Of a vec0 table: by which its rows are partitioned. A new row whose partition is NULL is found by nobody who asks
  // for one, so InsertSql() adds none then.
  std::vector<std::string> partitions;
  bool is_rolled_back = false;  // nothing is made: a table that is not there is no error

  // The first of them that nothing says the value of; null: none.
  const std::string* UnknownPartition() const;

  // For messages: "notes.db: table `notes`". `path`: file or address.
  std::string Place(absl::string_view path) const;
};

// Something is to be made that is not. `path`: as of Place(). Errors: kFailedPrecondition.
absl::Status NotPrepared(const SqliteTarget& target, absl::string_view path);

// Why a row that the table lacks is refused, see UnknownPartition().
std::string NoPartition(absl::string_view partition);

// Sets row->refusal: why it was not changed, although nothing failed. `find`: of FindSql(). Errors: the database's.
absl::Status ExplainUnchanged(SqliteStatement* find, RowToWrite* row);

// Errors: as ParseSqliteLocation; kInvalidArgument (no column to fill).
absl::StatusOr<SqliteLocation> ParseSqliteTarget(const Location& location);

// Fills everything but `asked` from `db`. `vector_type`: of a vector column that is to be made; empty: as the encoding.
// Errors: kNotFound (no such table), kInvalidArgument, kFailedPrecondition (a column that cannot take a vector).
absl::Status ResolveSqliteTarget(const SqlDb& db, SqliteTarget* target, absl::string_view vector_type = "");

// Stores one row: ?1 the key, ?2 the vector, ?3 the model's name, ?4 the width; the last two only where the location
// names columns for them. Precondition: the table is there.
std::string StoreSql(const SqliteTarget& target);

// Virtual tables have no upsert: there StoreSql() changes the row with the key, and InsertSql(), with the same
// parameters, adds it when nothing was changed.
bool StoresInTwoSteps(const SqliteTarget& target);
std::string InsertSql(const SqliteTarget& target);

// The names of the columns that StoreSql() fills, the vector's first.
std::vector<std::string> FilledColumns(const SqliteTarget& target);

// The cells in FilledColumns() of the rows with the keys ?1, ?2, ..., in that order: first the parameter's number, less
// 1, then a column each; NULL for a column that the table lacks.
std::string CellsSql(const SqliteTarget& target, size_t keys);

// Gives the row with the key ?1 the cells ?2, ?3, ..., in the order of FilledColumns(); those that the table lacks are
// passed over.
std::string RestoreSql(const SqliteTarget& target);

// Removes the row with the key ?1.
std::string RemoveSql(const SqliteTarget& target);

// A row if ?1 is a key in the table.
std::string FindSql(const SqliteTarget& target);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_TARGET_H_
