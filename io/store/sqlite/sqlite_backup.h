// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_BACKUP_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_BACKUP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file/backup_folder.h"
#include "io/store/sqlite/sql_db.h"

namespace reembed {

// Copies the database file `from` into the new file `to`, as it is at one moment, while other programs read and write
// it, and has SQLite check the copy. Returns its rows by table.
// Errors: as SqliteDb; kDataLoss (the database is damaged: says how).
// Source: https://sqlite.org/backup.html
absl::StatusOr<RowCounts> BackUpSqlite(const std::string& from, const std::string& to);

// Puts the copy `from` in the place of everything that is in the database file `to`, in one transaction: until its end,
// and after a crash, `to` is what it was. A file that is not there is made. `rows`: what must be in it then.
// Errors: as SqliteDb; kAborted (another process has it open); kFailedPrecondition (the remains of another database lie
// beside it); kDataLoss (what is in it then is not what was in the copy).
absl::Status RestoreSqlite(const std::string& from, const std::string& to, const RowCounts& rows, RestoreProgress told);

// Rows by table, without SQLite's own tables, virtual ones and their shadows.
absl::StatusOr<RowCounts> CountSqliteRows(const SqlDb& db);

// The first difference in words, both sides by table; empty: there is none.
std::string RowCountsDifference(const RowCounts& expected, const RowCounts& found);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_BACKUP_H_
