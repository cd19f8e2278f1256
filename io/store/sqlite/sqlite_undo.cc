// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_undo.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/rollback.h"
#include "engine/status_macros.h"
#include "io/store/vector_encoding.h"

namespace reembed {
namespace {

// Keys of one question.
constexpr size_t kPageRows = 256;

constexpr absl::string_view kMade = "made";
constexpr absl::string_view kTableNote = "table";
std::string ColumnNote(absl::string_view column) { return absl::StrCat("column ", column); }

void AppendNumber(const void* number, std::string* out) { out->append(static_cast<const char*>(number), 8); }

template <typename Number>
bool TakeNumber(absl::string_view* bytes, Number* number) {
  static_assert(sizeof(Number) == 8);
  if (bytes->size() < 8) return false;
  std::memcpy(number, bytes->data(), 8);
  bytes->remove_prefix(8);
  return true;
}

// One value; false: damaged.
bool TakeCell(absl::string_view* bytes, SqliteValue* value) {
  if (bytes->empty()) return false;
  value->type = static_cast<SqliteType>(bytes->front());
  bytes->remove_prefix(1);
  uint64_t size = 0;
  switch (value->type) {
    case SqliteType::kNull:
      return true;
    case SqliteType::kInteger:
      return TakeNumber(bytes, &value->integer);
    case SqliteType::kReal:
      return TakeNumber(bytes, &value->real);
    case SqliteType::kText:
    case SqliteType::kBlob:
      if (!TakeNumber(bytes, &size) || size > bytes->size()) return false;
      value->bytes = bytes->substr(0, size);
      bytes->remove_prefix(size);
      return true;
  }
  return false;
}

}  // namespace

void AppendCell(const SqliteValue& value, std::string* content) {
  content->push_back(static_cast<char>(value.type));
  switch (value.type) {
    case SqliteType::kNull:
      return;
    case SqliteType::kInteger:
      return AppendNumber(&value.integer, content);
    case SqliteType::kReal:
      return AppendNumber(&value.real, content);
    case SqliteType::kText:
    case SqliteType::kBlob:
      const uint64_t size = value.bytes.size();
      AppendNumber(&size, content);
      content->append(value.bytes.data(), value.bytes.size());
  }
}

absl::StatusOr<std::vector<SqliteValue>> ParseCells(absl::string_view content) {
  std::vector<SqliteValue> cells;
  while (!content.empty()) {
    if (!TakeCell(&content, &cells.emplace_back())) {
      return absl::DataLossError("undo.db: a row's old cells are damaged");
    }
  }
  return cells;
}

void CellReader::Start(absl::Span<const KeyView> keys) {
  if (statement_.prepared()) statement_.Reset();
  keys_ = keys;
  next_ = page_begin_ = page_end_ = found_ = 0;
}

absl::Status CellReader::Prepare(size_t rows) {
  if (statement_.prepared() && static_cast<size_t>(statement_.parameters()) == rows) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(statement_, db_->Prepare(CellsSql(*target_, rows)));
  return absl::OkStatus();
}

absl::Status CellReader::Take(const absl::StatusOr<bool>& stepped) {
  ABSL_RETURN_IF_ERROR(stepped.status());
  found_ = *stepped ? page_begin_ + static_cast<size_t>(statement_.Int(0)) : page_end_;
  if (found_ >= next_) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(db_->path(), ": rows came in another order than they were asked for"));
}

absl::Status CellReader::StartPage() {
  while (true) {
    const int64_t most = db_->rows_per_answer();
    // One size of the statement, so that it is not prepared for every call; NULL is no key.
    const size_t rows = most > 0 ? std::min(kPageRows, static_cast<size_t>(most)) : kPageRows;
    ABSL_RETURN_IF_ERROR(Prepare(rows));
    // The last page may not have been read to its end.
    statement_.Reset();
    page_begin_ = next_;
    page_end_ = std::min(keys_.size(), next_ + rows);
    for (size_t i = 0; i < rows; ++i) {
      if (next_ + i < page_end_) {
        statement_.BindKey(static_cast<int>(i) + 1, keys_[next_ + i]);
      } else {
        statement_.BindNull(static_cast<int>(i) + 1);
      }
    }
    const absl::StatusOr<bool> row = statement_.Step();
    // Too long for one answer; now rows_per_answer() is less.
    if (!absl::IsOutOfRange(row.status()) || rows <= 2) return Take(row);
  }
}

absl::StatusOr<std::optional<CellReader::Row>> CellReader::Next() {
  if (next_ == keys_.size()) {
    // It may stand before its end, and would hold the table.
    if (statement_.prepared()) statement_.Reset();
    return std::nullopt;
  }
  absl::Status status;
  if (next_ == page_end_) {
    status = StartPage();
  } else if (next_ > found_) {
    status = Take(statement_.Step());
  }
  ABSL_RETURN_IF_ERROR(status);
  Row row{.index = next_};
  if (next_ == found_) {
    content_.clear();
    const int columns = static_cast<int>(FilledColumns(*target_).size());
    for (int column = 1; column <= columns; ++column) AppendCell(statement_.Value(column), &content_);
    row.content = content_;
  }
  ++next_;
  return row;
}

absl::Status LogOldCells(absl::Span<RowToWrite* const> rows, const SqliteTarget& target, CellReader* cells,
                         UndoLog* log) {
  if (log == nullptr) return absl::OkStatus();
  std::vector<KeyView> keys;
  keys.reserve(rows.size());
  for (const RowToWrite* const row : rows) keys.push_back(row->row->key);
  cells->Start(keys);
  const bool adds = target.asked.mode != SqliteLocation::Mode::kUpdate;
  absl::Status kept =
      LogOldRows(rows, log, [&](size_t, std::optional<absl::string_view>* content) -> absl::StatusOr<bool> {
        ABSL_ASSIGN_OR_RETURN(const std::optional<CellReader::Row> row, cells->Next());
        *content = row->content;
        return row->content.has_value() || adds;
      });
  cells->Start({});
  return kept;
}

absl::Status LogWhatIsMissing(const SqliteTarget& target, UndoLog* log) {
  if (!target.table.has_value()) return log->LogNote(kTableNote, kMade);
  for (const std::string& column : target.missing_columns) {
    ABSL_RETURN_IF_ERROR(log->LogNote(ColumnNote(column), kMade));
  }
  return absl::OkStatus();
}

absl::Status ReadCells(CellReader* cells, absl::Span<const OldRow> rows, absl::Span<RowNow> now) {
  std::vector<KeyView> keys;
  for (const OldRow& row : rows) keys.push_back(row.key);
  cells->Start(keys);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<CellReader::Row> found, cells->Next());
    if (!found.has_value()) return absl::OkStatus();
    RowNow& row = now[found->index];
    row.was_there = rows[found->index].content.has_value();
    row.there = found->content.has_value();
    if (row.there) row.content = std::string(*found->content);
  }
}

absl::StatusOr<bool> HoldsVector(const SqliteTarget& target, absl::string_view content,
                                 absl::Span<const float> written) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<SqliteValue> cells, ParseCells(content));
  const SqliteValue& vector = cells.front();
  const SqliteType type = IsText(target.asked.encoding) ? SqliteType::kText : SqliteType::kBlob;
  std::vector<float> held(written.size());
  return vector.type == type && DecodeVector(target.asked.encoding, vector.bytes, absl::MakeSpan(held)) &&
         std::memcmp(held.data(), written.data(), held.size() * sizeof(float)) == 0;
}

namespace {

absl::StatusOr<bool> WasMade(const std::string& note, UndoReader* log) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> found, log->FindNote(note));
  return found.has_value();
}

// A column that an earlier rollback took away held nothing before the job either; without another one a row cannot be
// asked what it holds.
absl::StatusOr<std::string> FindLostColumn(const SqliteTarget& target, UndoReader* log) {
  for (const std::string& column : target.missing_columns) {
    ABSL_ASSIGN_OR_RETURN(const bool made, WasMade(ColumnNote(column), log));
    if (!made) return absl::StrCat("the column ", column, " is gone from the table");
  }
  return std::string();
}

class SqliteRows final : public RowTable {
 public:
  SqliteRows(const SqlDb& db, const SqliteTarget& target, CellWriter* writer)
      : db_(db), target_(target), writer_(writer), cells_(&db, &target) {}

  absl::Status Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) override {
    ABSL_RETURN_IF_ERROR(writer_->Begin());
    return ReadCells(&cells_, rows, now);
  }

  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override {
    return HoldsVector(target_, now.content, written);
  }

  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override {
    return writer_->Apply(changes, outcomes);
  }

  absl::Status TakeAway(UndoReader* log, RollbackReport* report) override;

 private:
  absl::StatusOr<bool> IsNothingIn(const std::string& sql);

  const SqlDb& db_;
  const SqliteTarget& target_;
  CellWriter* const writer_;
  CellReader cells_;
};

absl::StatusOr<bool> SqliteRows::IsNothingIn(const std::string& sql) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement statement, db_.Prepare(sql));
  ABSL_ASSIGN_OR_RETURN(const bool row, statement.Step());
  return !row;
}

absl::Status SqliteRows::TakeAway(UndoReader* log, RollbackReport* report) {
  struct Part {
    std::string note, name, find, drop;
  };
  const std::string table = QuoteName(target_.table->name);
  std::vector<Part> parts = {{std::string(kTableNote), absl::StrCat("table ", target_.table->name),
                              absl::StrCat("SELECT 1 FROM ", table, " LIMIT 1"), absl::StrCat("DROP TABLE ", table)}};
  for (const std::string& column : FilledColumns(target_)) {
    if (target_.table->Find(column) == nullptr) continue;
    const std::string quoted = QuoteName(column);
    parts.push_back({ColumnNote(column), absl::StrCat("column ", column),
                     absl::StrCat("SELECT 1 FROM ", table, " WHERE ", quoted, " IS NOT NULL LIMIT 1"),
                     absl::StrCat("ALTER TABLE ", table, " DROP COLUMN ", quoted)});
  }
  for (const Part& part : parts) {
    ABSL_ASSIGN_OR_RETURN(const bool made, WasMade(part.note, log));
    if (!made) continue;
    ABSL_ASSIGN_OR_RETURN(const bool empty, IsNothingIn(part.find));
    // The table's own indexes, views and triggers may want it by now.
    const absl::Status dropped =
        empty ? db_.Exec(part.drop) : absl::FailedPreconditionError("there is something in it");
    report->notes.push_back(
        dropped.ok()
            ? absl::StrCat("took away the ", part.name, ", which the job had made")
            : absl::StrCat("the ", part.name, " stays, which the job had made: ", std::string(dropped.message())));
    if (part.note == kTableNote && dropped.ok()) return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RollbackReport> RollBackTable(const SqlDb& db, SqliteTarget target, CellWriter* writer,
                                             UndoReader* old_rows) {
  ABSL_RETURN_IF_ERROR(ResolveSqliteTarget(db, &target));
  RollbackReport report;
  if (!target.table.has_value()) {
    ABSL_RETURN_IF_ERROR(
        CountRowsGone(old_rows, absl::StrCat("the table ", target.asked.table, " is not there any more"), &report));
    return report;
  }
  ABSL_ASSIGN_OR_RETURN(const std::string lost, FindLostColumn(target, old_rows));
  if (!lost.empty()) {
    ABSL_RETURN_IF_ERROR(LeaveRows(old_rows, lost, &report));
    return report;
  }
  SqliteRows rows(db, target, writer);
  return RollBackRows(db.path(), &rows, old_rows);
}

}  // namespace reembed
