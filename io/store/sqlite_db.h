#ifndef REEMBED_IO_STORE_SQLITE_DB_H_
#define REEMBED_IO_STORE_SQLITE_DB_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/key.h"

struct sqlite3;
struct sqlite3_stmt;

// SQLite with owners and Status. Every error names the file, says SQLite's own words, and has a code that tells the
// caller what to do:
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
  kCreate,  // kReadWrite, and the file is made when it does not exist
};

enum class SqliteType { kNull, kInteger, kReal, kText, kBlob };

class SqliteDb;

// One prepared statement. Movable; must not outlive its connection, and is used by the same thread.
class SqliteStatement {
 public:
  SqliteStatement() = default;
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&& other) noexcept;
  ~SqliteStatement();

  // Parameters count from 1 and stay bound until they are bound again. The bytes of texts and blobs are not copied:
  // they must live until then. A failed binding is reported by the next Step().
  void Bind(int parameter, int64_t value);
  void BindText(int parameter, absl::string_view value);
  void BindBlob(int parameter, absl::string_view value);
  void BindNull(int parameter);
  void BindKey(int parameter, KeyView key);

  // Runs up to the next result row; false after the last. After false or an error the statement is reset and holds no
  // lock.
  absl::StatusOr<bool> Step();

  // Steps to the end; for statements without result rows.
  absl::Status Run();

  // Ends the statement, and with it the read transaction it began. Keeps the bindings.
  void Reset();

  // The current row. Columns count from 0; views die at the next Step() or Reset(). Text() is UTF-8 and may hold NUL
  // bytes; numbers are shown as SQLite shows them.
  SqliteType Type(int column) const;
  int64_t Int(int column) const;
  absl::string_view Text(int column) const;
  absl::string_view Blob(int column) const;

  int parameters() const;
  bool prepared() const { return statement_ != nullptr; }

 private:
  friend class SqliteDb;
  SqliteStatement(const SqliteDb* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  void Remember(int bind_result);

  const SqliteDb* db_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
  int bind_error_ = 0;  // first failed binding since the last Step()
};

// One connection. Used by one thread at a time.
// While one is open this process must not open and close the file by other means: closing any descriptor of a file
// drops all POSIX locks that the process has on it (https://sqlite.org/howtocorrupt.html, section 2.2).
class SqliteDb {
 public:
  // Opens and reads the file's head, so that a file of another kind is refused here. What a program left unfinished
  // when it died is undone first, also with kReadOnly, where the file can be written. A statement that meets a lock
  // waits for it up to `busy_timeout`, then fails with kUnavailable.
  static absl::StatusOr<std::unique_ptr<SqliteDb>> Open(const std::string& path, SqliteAccess access,
                                                        absl::Duration busy_timeout = absl::Seconds(5));
  SqliteDb(const SqliteDb&) = delete;
  SqliteDb& operator=(const SqliteDb&) = delete;
  ~SqliteDb();

  // Exactly one statement; anything behind it is kInvalidArgument.
  absl::StatusOr<SqliteStatement> Prepare(absl::string_view sql) const;

  // Prepares and runs one statement that gives no rows, or whose rows do not matter.
  absl::Status Exec(absl::string_view sql) const;

  const std::string& path() const { return path_; }
  int64_t ChangedRows() const;      // by the last INSERT, UPDATE or DELETE, triggers not counted
  bool InTransaction() const;       // false again when SQLite had to roll back by itself
  int LastCode() const;             // SQLite's primary result code of the last failed call
  std::string LastMessage() const;  // and its own words

 private:
  friend class SqliteStatement;
  SqliteDb(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}
  absl::Status Error(int code) const;

  std::string path_;
  sqlite3* db_;
};

// "name" with quotes doubled: a table or column name for use inside SQL.
std::string QuoteName(absl::string_view name);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_DB_H_
