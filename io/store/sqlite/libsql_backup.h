// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_LIBSQL_BACKUP_H_
#define REEMBED_IO_STORE_SQLITE_LIBSQL_BACKUP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file/backup_folder.h"
#include "io/store/sqlite/hrana.h"

namespace reembed {

// Reads everything in the database behind a libSQL server into the new SQLite file `to`: tables with their rowids,
// full- text tables, indexes, triggers and views, as they are at one moment (one read transaction; writers are not held
// up). Returns the rows by table. Errors: as HranaConnection; kFailedPrecondition (the database has what an SQLite file
// cannot hold, such as a vector index of libSQL: names it); of SqliteDb.
absl::StatusOr<RowCounts> BackUpLibsql(HranaServer from, const std::string& to);

// Whether a restore may begin: `to` is empty, or holds what is left of a restore that was killed.
// Errors: as HranaConnection; kFailedPrecondition (it is not empty: says what to do). A server gives a transaction five
// seconds, so the old could not be kept until the new is whole.
absl::Status CheckLibsqlIsEmpty(HranaServer to);

// Writes everything in the file `from`, which BackUpLibsql() made, into the empty database `to`, and counts it.
// Errors: as CheckLibsqlIsEmpty, HranaConnection; kDataLoss (what is there then is not what was in the file).
absl::Status RestoreLibsql(const std::string& from, HranaServer to, const RowCounts& rows, RestoreProgress told);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_LIBSQL_BACKUP_H_
