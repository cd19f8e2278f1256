// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQL_DB_H_
#define REEMBED_IO_STORE_SQLITE_SQL_DB_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/key.h"

// A database that speaks SQLite's SQL, wherever it is: in a file (sqlite_db.h) or behind a server (libsql_db.h). What
// reads tables is written against this and works on both.
namespace reembed {

enum class SqliteType { kNull, kInteger, kReal, kText, kBlob };

// One value of the database. The bytes are owned by whoever gives the value.
struct SqliteValue {
  SqliteType type = SqliteType::kNull;
  int64_t integer = 0;      // kInteger
  double real = 0;          // kReal
  absl::string_view bytes;  // kText (UTF-8, may hold NUL bytes), kBlob
};

// What stands behind a statement. Parameters count from 1, columns from 0. Used by one thread; see SqliteStatement for
// the meaning of each.
class SqlCursor {
 public:
  virtual ~SqlCursor() = default;
  virtual void Bind(int parameter, const SqliteValue& value) = 0;
  virtual absl::StatusOr<bool> Step() = 0;
  virtual void Reset() = 0;
  virtual SqliteValue Get(int column) const = 0;
  virtual int parameters() const = 0;
};

// One prepared statement. Movable; must not outlive its connection, and is used by the same thread.
class SqliteStatement {
 public:
  SqliteStatement() = default;
  explicit SqliteStatement(std::unique_ptr<SqlCursor> cursor) : cursor_(std::move(cursor)) {}

  // Parameters count from 1 and stay bound until they are bound again. The bytes of texts and blobs are not copied:
  // they must live until then. A failed binding is reported by the next Step().
  void Bind(int parameter, int64_t value);
  void BindText(int parameter, absl::string_view value);
  void BindBlob(int parameter, absl::string_view value);
  void BindNull(int parameter);
  void BindKey(int parameter, KeyView key);
  void BindValue(int parameter, const SqliteValue& value) { cursor_->Bind(parameter, value); }

  // Runs up to the next result row; false after the last. After false or an error the statement is reset and holds no
  // lock.
  absl::StatusOr<bool> Step() { return cursor_->Step(); }

  // Steps to the end; for statements without result rows.
  absl::Status Run();

  // Ends the statement, and with it the read transaction it began. Keeps the bindings.
  void Reset() { cursor_->Reset(); }

  // The current row. Columns count from 0; views die at the next Step() or Reset(). Text() is UTF-8 and may hold NUL
  // bytes; a number is shown as SQLite shows it, until the next Text().
  SqliteType Type(int column) const { return cursor_->Get(column).type; }
  int64_t Int(int column) const { return cursor_->Get(column).integer; }  // 0: no integer
  absl::string_view Text(int column) const;
  absl::string_view Blob(int column) const { return cursor_->Get(column).bytes; }
  SqliteValue Value(int column) const { return cursor_->Get(column); }

  int parameters() const { return cursor_->parameters(); }
  bool prepared() const { return cursor_ != nullptr; }

 private:
  std::unique_ptr<SqlCursor> cursor_;
  mutable std::string number_;  // the last one shown as text
};

// One connection. Used by one thread at a time. Errors: those of the kind of database.
class SqlDb {
 public:
  virtual ~SqlDb() = default;

  // Exactly one statement; anything behind it is kInvalidArgument.
  virtual absl::StatusOr<SqliteStatement> Prepare(absl::string_view sql) const = 0;

  // How many rows a statement should ask for at most, as it gets all its rows in one answer; 0: they come one by one.
  // A statement whose answer is too large fails with kOutOfRange, and then this is less than before, but not below 2.
  virtual int64_t rows_per_answer() const { return 0; }

  // Whether a text comes byte for byte. Otherwise one that is not UTF-8 fails the statement, if nothing worse, and what
  // users wrote is to be asked for as TextBytesSql() has it.
  virtual bool gives_any_text() const { return true; }

  // Prepares and runs one statement that gives no rows, or whose rows do not matter.
  absl::Status Exec(absl::string_view sql) const;

  const std::string& path() const { return path_; }  // file or address, for messages

 protected:
  explicit SqlDb(std::string path) : path_(std::move(path)) {}

 private:
  const std::string path_;
};

// "name" with quotes doubled: a table or column name for use inside SQL.
std::string QuoteName(absl::string_view name);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQL_DB_H_
