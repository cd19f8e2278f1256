// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_VEC_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_VEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/store/sqlite/sql_db.h"
#include "io/store/sqlite/sqlite_target.h"

namespace reembed {

// What the statement that made a vec0 table (sqlite-vec) says of it: the extension itself tells nothing before a row is
// written. Source: https://github.com/asg017/sqlite-vec, site/api-reference.md, "vec0".

// How many numbers the vectors of the target's column have; 0: it is no virtual table. Errors: kFailedPrecondition
// (another module, or a column that does not hold float32).
absl::StatusOr<int> Vec0Width(const SqlDb& db, const SqliteTarget& target);

// The statement that made the target's table.
absl::StatusOr<std::string> Vec0Sql(const SqlDb& db, const SqliteTarget& target);

// The declared type of a vector column in small letters, as float[384], int8[384], bit[384]; empty: of another column,
// or of none.
std::string Vec0Type(absl::string_view sql, absl::string_view column);

// The statement, for vectors of `dim` numbers in a column whose type is Vec0Type().
std::string WithVec0Width(absl::string_view sql, absl::string_view column, int dim);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_VEC_H_
