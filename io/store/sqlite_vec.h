#ifndef REEMBED_IO_STORE_SQLITE_VEC_H_
#define REEMBED_IO_STORE_SQLITE_VEC_H_

#include "absl/status/status.h"
#include "io/store/sql_db.h"
#include "io/store/sqlite_target.h"

namespace reembed {

// Whether the column of a vec0 table (sqlite-vec) takes float32 vectors of `dim` numbers, by the statement that made
// the table: the extension itself says so only when a row is written. Anything but a virtual table passes. Errors:
// kFailedPrecondition (another module, type or width; says what to do). Source: https://github.com/asg017/sqlite-vec,
// site/api-reference.md, "vec0".
absl::Status CheckVec0Width(const SqlDb* db, const SqliteTarget& target, int dim);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_VEC_H_
