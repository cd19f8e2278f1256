// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_DB_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_DB_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "io/store/sqlite/sql_db.h"

struct sqlite3;

// SQLite files with owners and Status. Every error names the file, says SQLite's own words, and has a code that tells
// the caller what to do:
//   kNotFound            no such file
//   kInvalidArgument     not a database, a directory, empty; wrong SQL (a table or column that is not there)
//   kUnavailable         locked by another program, input/output error: try again
//   kResourceExhausted   disk or memory full
//   kDataLoss            the file is damaged
//   kPermissionDenied    the operating system does not let us
//   kFailedPrecondition  opened read-only, or a constraint or trigger refused a change (see SqliteDb::LastCode)
// Source: https://sqlite.org/rescode.html
namespace reembed {

enum class SqliteAccess {
  kReadOnly,
  kReadWrite,
  kCreate,      // kReadWrite, and the file is made when it does not exist
  kUnchanging,  // kReadOnly of a file that nobody writes to: no lock is taken, and nothing made beside it
};

// One connection. Used by one thread at a time.
// While one is open this process must not open and close the file by other means: closing any descriptor of a file
// drops all POSIX locks that the process has on it (https://sqlite.org/howtocorrupt.html, section 2.2).
class SqliteDb final : public SqlDb {
 public:
  // Opens and reads the file's head, so that a file of another kind is refused here. What a program left unfinished
  // when it died is undone first, also with kReadOnly, where the file can be written. A statement that meets a lock
  // waits for it up to `busy_timeout`, then fails with kUnavailable.
  static absl::StatusOr<std::unique_ptr<SqliteDb>> Open(const std::string& path, SqliteAccess access,
                                                        absl::Duration busy_timeout = absl::Seconds(5));
  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;
  ~SqliteDb() override;

  absl::StatusOr<SqliteStatement> Prepare(absl::string_view sql) const override;

  // Makes the functions and virtual tables of an extension, a shared library, known to this connection, as sqlite-vec's
  // vec0. It runs in this process: for libraries that the user has named. Errors: kInvalidArgument (no such library, or
  // none of SQLite's).
  absl::Status LoadExtension(const std::string& file);

  // Replaces everything in `to` by what is in this database at one moment, in one transaction of `to`. Both may be in
  // use by others, who wait for no longer than it takes to copy some pages, unless they write all the time. Errors name
  // both files. `told`: of bytes done and bytes in all, now and then; only where nobody writes to this database.
  absl::Status CopyTo(SqliteDb* to, const std::function<void(int64_t, int64_t)>& told = nullptr) const;

  int64_t ChangedRows() const;      // by the last INSERT, UPDATE or DELETE, triggers not counted
  bool InTransaction() const;       // false again when SQLite had to roll back by itself
  int LastCode() const;             // SQLite's primary result code of the last failed call
  std::string LastMessage() const;  // and its own words

 private:
  class Cursor;
  SqliteDb(std::string path, sqlite3* db) : SqlDb(std::move(path)), db_(db) {}
  absl::Status Error(int code) const;

  sqlite3* const db_;
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_DB_H_
