// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_SCAN_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_SCAN_H_

#include <array>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/key.h"
#include "engine/page_walk.h"
#include "engine/selection.h"
#include "io/store/sqlite/sql_db.h"
#include "io/store/sqlite/sqlite_table.h"

namespace reembed {

// A walk over all rows of a table in the order of their keys that never keeps others waiting: it gives up its read
// transaction after a bounded number of rows, whatever they hold, and takes it up again behind the last key. So a
// writer commits and a WAL checkpoint ends between two stretches, and rows that change under the walk shift nothing.
// That is why conditions are shown as columns and not put into WHERE, where one page could cost a scan of the table.
// From a server it asks for a bounded number of rows at a time, fewer when they turn out to be long.
// Rows whose key is NULL come first, by their rowid, where the table has a name for them; else they are passed over,
// as whoever wants them has asked CheckSqliteKeysPresent.
//
// Borrows `db`. Used by one thread.
class SqliteScan {
 public:
  // `columns`: SQL expressions, each shown from column 1 of row() on; column 0 is the key.
  SqliteScan(const SqlDb* db, SqliteTable table, std::string columns);
  SqliteScan(const SqliteScan&) = delete;
  SqliteScan& operator=(const SqliteScan&) = delete;

  // Before the walk: the rows outside are not there for it. Rows without a key come before all keys.
  void SetRange(KeyRange range);

  // Where Next() goes on. Default: the first row.
  void SeekToStart();
  void SeekTo(KeyView key);  // at this key, or the first one behind it
  void SeekAfter(KeyView key);

  // To the next row; false at the end. After an error the same call tries the same row again.
  // Errors: as SqlDb; kFailedPrecondition (a key that is there twice, or neither integer nor text).
  absl::StatusOr<bool> Next();

  // The row Next() came to. Views die at the next call of anything but key() and row().
  KeyView key() const { return ViewOf(at_.key); }
  const SqliteStatement& row() const { return *current_; }

  // Gives up the read transaction now. Next() goes on behind the last row.
  void Pause();

 private:
  bool HasNamesForNull() const { return !table_.rowid_of_null_key.empty(); }
  // Whether the walk goes among the rows whose key is NULL when it is at `key`.
  bool IsAmongNull(KeyView key) const;
  absl::StatusOr<SqliteStatement> Prepare() const;
  absl::StatusOr<SqliteStatement*> Begin();
  absl::StatusOr<bool> StepBehindBound();
  absl::StatusOr<bool> StepThroughPages();
  bool IsAtKey(const SqliteValue& key) const;
  absl::Status TakeKey();

  const SqlDb* const db_;
  const SqliteTable table_;
  const std::string columns_;
  KeyRange range_;
  // Prepared when first needed; by PageStart::From, [1] among the rows whose key is NULL.
  std::array<std::array<SqliteStatement, 3>, 2> statements_;
  PageStart at_;  // where it goes on: behind the last row, or as was sought
  bool among_null_;
  SqliteStatement* current_ = nullptr;  // the one that is under way
  Key bound_;                           // what it is bound to
  int64_t rows_in_transaction_ = 0;
  int64_t limit_ = 0;  // rows that the statement under way gives at most; 0: all
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_SCAN_H_
