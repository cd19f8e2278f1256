// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_UNDO_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_UNDO_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/row_table.h"
#include "engine/table_sink.h"
#include "engine/undo_log.h"
#include "io/store/sqlite/sql_db.h"
#include "io/store/sqlite/sqlite_target.h"

// The way back of tables that speak SQLite's SQL, in files and behind servers: the cells of a row that a sink fills, as
// they are, with type and bytes, in the order of FilledColumns().
namespace reembed {

// Several values as one string of bytes, and back. Equal strings are equal values of equal types.
void AppendCell(const SqliteValue& value, std::string* content);
// Errors: kDataLoss (it was not made by AppendCell). The values live as long as `content`.
absl::StatusOr<std::vector<SqliteValue>> ParseCells(absl::string_view content);

// Reads the cells of many rows by their keys. Used by one thread; `db` and `target` are borrowed.
class CellReader {
 public:
  struct Row {
    size_t index = 0;                          // of its key
    std::optional<absl::string_view> content;  // until the next call; nullopt: there is no such row
  };

  CellReader(const SqlDb* db, const SqliteTarget* target) : db_(db), target_(target) {}

  // Begins with other keys, which must stay as they are.
  void Start(absl::Span<const KeyView> keys);

  // One for each key, in their order; nullopt after the last. Errors: those of the database.
  absl::StatusOr<std::optional<Row>> Next();

 private:
  absl::Status Prepare(size_t rows);
  absl::Status StartPage();
  absl::Status Take(const absl::StatusOr<bool>& stepped);

  const SqlDb* const db_;
  const SqliteTarget* const target_;
  SqliteStatement statement_;
  absl::Span<const KeyView> keys_;
  size_t next_ = 0;                       // key
  size_t page_begin_ = 0, page_end_ = 0;  // keys that the statement was asked for
  size_t found_ = 0;                      // key of the row where it stands; page_end_: there is none any more
  std::string content_;
};

// Shows the log what the rows hold that are about to be written; a null log takes nothing.
absl::Status LogOldCells(absl::Span<RowToWrite* const> rows, const SqliteTarget& target, CellReader* cells,
                         UndoLog* log);

// Tells the log what is about to be made: target.changes.
absl::Status LogWhatIsMissing(const SqliteTarget& target, UndoLog* log);

// As RowTable::Read(), with the rows' cells.
absl::Status ReadCells(CellReader* cells, absl::Span<const OldRow> rows, absl::Span<RowNow> now);

// Whether a row's cells hold the vector `written`, [dim].
absl::StatusOr<bool> HoldsVector(const SqliteTarget& target, absl::string_view content,
                                 absl::Span<const float> written);

// How one kind of database changes rows.
class CellWriter {
 public:
  virtual ~CellWriter() = default;
  // Before rows are read, as RowTable::Read().
  virtual absl::Status Begin() = 0;
  // As RowTable::Apply().
  virtual absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) = 0;
};

// Puts back all that the log holds, and takes away columns and table if the job has made them and nothing is in them.
// `target` has the location; `db` can write. Errors: as RollBackRows().
absl::StatusOr<RollbackReport> RollBackTable(const SqlDb& db, SqliteTarget target, CellWriter* writer,
                                             UndoReader* old_rows);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_UNDO_H_
