// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_undo.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"
#include "io/store/postgres/postgres_new_column.h"
#include "io/store/postgres/postgres_rollback.h"
#include "io/store/postgres/postgres_vector.h"

namespace reembed {
namespace {

constexpr absl::string_view kTableNote = "table";
constexpr absl::string_view kMade = "made";
constexpr absl::string_view kNewColumnNote = "new column";
constexpr absl::string_view kSwap = "swap";      // the old column will be renamed
constexpr absl::string_view kRename = "rename";  // there is none
std::string ColumnNote(absl::string_view column) { return absl::StrCat("column ", column); }

constexpr size_t kKeptRows = 4096;  // at most, in one question and one piece of the log
constexpr size_t kKeptBytes = size_t{16} << 20;
constexpr size_t kPageRows = 512;  // of a rollback
constexpr size_t kPageBytes = size_t{2} << 20;

// Instead of the length of a cell.
constexpr int32_t kNull = -1;
constexpr int32_t kNotKept = -2;

using Cell = std::optional<absl::string_view>;  // nullopt: NULL

// The cells in OldRow::content, one for each column; nullopt: not kept.
using Cells = std::vector<std::optional<Cell>>;

void AppendCell(const Cell& cell, std::string* content) {
  AppendInt32(cell.has_value() ? static_cast<int32_t>(cell->size()) : kNull, content);
  if (cell.has_value()) content->append(cell->data(), cell->size());
}

absl::StatusOr<Cells> ParseCells(absl::string_view content, size_t columns) {
  Cells cells;
  while (content.size() >= sizeof(int32_t)) {
    const auto size = static_cast<int32_t>(ReadInt32(content));
    content.remove_prefix(sizeof(int32_t));
    if (size == kNull) {
      cells.emplace_back(Cell());
    } else if (size == kNotKept) {
      cells.emplace_back();
    } else if (size >= 0 && static_cast<size_t>(size) <= content.size()) {
      cells.emplace_back(content.substr(0, static_cast<size_t>(size)));
      content.remove_prefix(static_cast<size_t>(size));
    } else {
      break;
    }
  }
  if (content.empty() && cells.size() == columns) return cells;
  return absl::DataLossError("undo.db: a row's old cells are damaged");
}

// Rows of keys that the statement knows as $1, joined with the table's.
std::string JoinSql(const PostgresTable& table) {
  return absl::StrCat(" FROM unnest(", table.KeysSql(), ") WITH ORDINALITY AS s(k, n) JOIN ", table.Sql(),
                      " AS t ON t.", table.KeySql(), " = ", table.KeyOfSql("s.k"));
}

std::string ReadSql(const PostgresTable& table, const PostgresFilled& filled, size_t first_column) {
  std::string cells;
  for (size_t i = first_column; i < filled.columns.size(); ++i) {
    const PostgresFilled::Column& column = filled.columns[i];
    absl::StrAppend(&cells, ", ", column.exists ? "t." + QuotePostgresName(column.name) : "NULL::text");
  }
  return absl::StrCat("SELECT s.n", cells, JoinSql(table));
}

// The number s.n of the row, less one.
size_t IndexOf(const PostgresRows& row) {
  const absl::string_view bytes = row.Bytes(0, 0);
  return static_cast<size_t>(ReadInt32(bytes.substr(sizeof(uint32_t)))) - 1;
}

Cell CellOf(const PostgresRows& row, int column) { return row.IsNull(0, column) ? Cell() : Cell(row.Bytes(0, column)); }

template <typename Rows, typename KeyOf>
std::string KeyArray(const PostgresTable& table, const Rows& rows, KeyOf key_of) {
  std::string keys = PostgresKeyArrayHead(table, rows.size());
  for (const auto& row : rows) AppendPostgresKey(table, key_of(row), &keys);
  return keys;
}

// One piece of KeepPostgresRows().
absl::Status KeepPiece(const PostgresFilled& filled, absl::Span<const PostgresRowToKeep> rows, PostgresTarget* target,
                       UndoLog* log) {
  const PostgresTable& table = *target->table;
  const std::string keys =
      KeyArray(table, rows, [](const PostgresRowToKeep& row) -> const std::string& { return *row.key_text; });
  const std::string sql = ReadSql(table, filled, filled.kept_from);
  std::vector<std::optional<std::string>> contents(rows.size());
  ABSL_RETURN_IF_ERROR(target->connection->Persist([&] {
    std::fill(contents.begin(), contents.end(), std::nullopt);
    return target->connection->Stream(sql, {PostgresValue::Binary(keys)}, [&](const PostgresRows& row) {
      std::string& content = contents[IndexOf(row)].emplace();
      for (size_t i = 0; i < filled.kept_from; ++i) AppendInt32(kNotKept, &content);
      for (size_t i = filled.kept_from; i < filled.columns.size(); ++i) {
        AppendCell(CellOf(row, static_cast<int>(i - filled.kept_from) + 1), &content);
      }
      return true;
    });
  }));
  const bool adds = target->asked.mode == PostgresLocation::Mode::kUpsert;
  size_t next = 0;
  return log->Keep([&]() -> absl::StatusOr<std::optional<OldRow>> {
    while (next < rows.size() && !contents[next].has_value() && !adds) ++next;
    if (next == rows.size()) return std::nullopt;
    OldRow old{.ordinal = rows[next].ordinal, .key = rows[next].key};
    if (contents[next].has_value()) old.content = *contents[next];
    ++next;
    return old;
  });
}

}  // namespace

absl::StatusOr<PostgresFilled> FindPostgresFilled(const PostgresTarget& target) {
  const PostgresTable& table = *target.table;
  PostgresFilled filled;
  filled.columns.push_back({.name = target.vector->name});
  if (!target.asked.model_column.empty()) filled.columns.push_back({.name = target.asked.model_column});
  filled.kept_from = !target.asked.new_column.empty() && target.vector->name == target.asked.new_column ? 1 : 0;
  ABSL_ASSIGN_OR_RETURN(const PostgresRows types, target.connection->Query(
                                                      // Of -1 a type has no length, which would cut values short.
                                                      "SELECT attname, atttypid, pg_catalog.format_type(atttypid, -1) "
                                                      "FROM pg_catalog.pg_attribute WHERE attrelid = "
                                                      "$1::regclass AND attnum > 0 AND NOT attisdropped",
                                                      {PostgresValue::Text(table.Sql())}));
  for (PostgresFilled::Column& column : filled.columns) {
    for (int row = 0; row < types.size(); ++row) {
      if (types.Bytes(row, 0) != column.name) continue;
      column.exists = true;
      column.oid = static_cast<int32_t>(types.Int(row, 1));
      column.type = types.Text(row, 2);
    }
  }
  return filled;
}

absl::Status KeepPostgresRows(const PostgresFilled& filled, absl::Span<const PostgresRowToKeep> rows,
                              PostgresTarget* target, UndoLog* log) {
  if (filled.kept_from == filled.columns.size()) return absl::OkStatus();
  const size_t piece =
      std::clamp<size_t>(kKeptBytes / (static_cast<size_t>(target->model.dim) * sizeof(float) + 64), 1, kKeptRows);
  for (size_t begin = 0; begin < rows.size(); begin += piece) {
    ABSL_RETURN_IF_ERROR(KeepPiece(filled, rows.subspan(begin, piece), target, log));
  }
  return absl::OkStatus();
}

absl::Status KeepPostgresChanges(const PostgresTarget& target, UndoLog* log) {
  const PostgresLocation& asked = target.asked;
  absl::Status kept;
  if (!asked.new_column.empty()) {
    if (target.vector->name == asked.new_column) {
      kept = log->KeepNote(kNewColumnNote, target.table->Find(asked.vector) != nullptr ? kSwap : kRename);
    }
  } else if (!target.vector->exists) {
    kept = log->KeepNote(ColumnNote(target.vector->name), kMade);
  }
  if (kept.ok() && target.model_column_missing) kept = log->KeepNote(ColumnNote(asked.model_column), kMade);
  return kept;
}

absl::Status KeepPostgresTableMade(UndoLog* log) { return log->KeepNote(kTableNote, kMade); }

namespace {

struct Row : PostgresOldRow {
  std::optional<std::string> old;  // nullopt: there was no such row
  bool there = false;
  std::vector<std::optional<std::string>> now;  // cells; nullopt: NULL

  bool HoldsNow(size_t column, const Cell& cell) const {
    return now[column].has_value() ? cell == Cell(*now[column]) : !cell.has_value();
  }
};

std::vector<PostgresOldRow*> Base(const std::vector<Row*>& rows) { return {rows.begin(), rows.end()}; }

class TableRollback {
 public:
  TableRollback(PostgresTarget target, UndoReader* old_rows) : target_(std::move(target)), old_rows_(old_rows) {}

  absl::StatusOr<RollbackReport> Run();

 private:
  absl::StatusOr<bool> HasNote(absl::string_view name) const;
  absl::Status SwapBack(bool has_old);
  absl::Status Prepare();
  absl::StatusOr<std::vector<Row>> LoadPage();
  absl::Status PutBackTogether(absl::Span<Row> rows, RollbackReport* done);
  absl::Status Read(absl::Span<Row> rows);
  absl::StatusOr<bool> IsAsBefore(const Row& row) const;
  absl::StatusOr<bool> HoldsWhatWasWritten(const Row& row);
  absl::Status Restore(const std::vector<Row*>& rows, size_t first_column, RollbackReport* done);
  absl::Status Remove(const std::vector<Row*>& rows, RollbackReport* done);
  std::string KeysOf(const std::vector<Row*>& rows) const {
    return KeyArray(table(), rows, [](const Row* row) -> const std::string& { return row->key_text; });
  }
  absl::Status TakeColumnAway(const std::string& column);

  PostgresConnection* connection() { return target_.connection.get(); }
  const PostgresTable& table() const { return *target_.table; }

  PostgresTarget target_;
  UndoReader* const old_rows_;
  PostgresFilled filled_;
  std::string untouched_;  // SQL: besides what a sink fills the row has nothing but defaults, and nobody refers to it
  RollbackReport report_;
};

absl::StatusOr<bool> TableRollback::HasNote(absl::string_view name) const {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> note, old_rows_->FindNote(name));
  return note.has_value();
}

absl::Status TableRollback::SwapBack(bool has_old) {
  const PostgresLocation& asked = target_.asked;
  const std::string drop = absl::StrCat("ALTER TABLE ", table().Sql(), " DROP COLUMN ",
                                        QuotePostgresName(asked.new_column), " if nobody needs it");
  if (IsPostgresSwapped(table(), asked)) {
    ABSL_ASSIGN_OR_RETURN(const std::string sql, PostgresSwapBackSql(table(), asked, has_old));
    ABSL_RETURN_IF_ERROR(connection()->Run(sql));
    ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(&target_));
    report_.notes.push_back(
        has_old ? absl::StrCat("the column ", asked.vector, " is the old one again, with its indexes and views")
                : absl::StrCat("there is no column ", asked.vector, " again"));
  }
  if (target_.vector->exists && target_.vector->name == asked.new_column) {
    report_.notes.push_back(
        absl::StrCat("the column ", asked.new_column, " stays, with the new vectors and its indexes: ", drop));
  }
  return absl::OkStatus();
}

absl::Status TableRollback::Prepare() {
  ABSL_ASSIGN_OR_RETURN(filled_, FindPostgresFilled(target_));
  ABSL_ASSIGN_OR_RETURN(const PostgresRows others,
                        connection()->Query("SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = $1::regclass "
                                            "AND attnum > 0 AND NOT attisdropped "
                                            "AND NOT atthasdef AND attidentity = ''",
                                            {PostgresValue::Text(table().Sql())}));
  ABSL_ASSIGN_OR_RETURN(untouched_, PostgresNobodyRefersSql(connection(), table()));
  for (int i = 0; i < others.size(); ++i) {
    const std::string name = others.Text(i, 0);
    const bool is_filled = std::any_of(filled_.columns.begin(), filled_.columns.end(),
                                       [&](const PostgresFilled::Column& column) { return column.name == name; });
    if (!is_filled && name != table().key) absl::StrAppend(&untouched_, " AND t.", QuotePostgresName(name), " IS NULL");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Row>> TableRollback::LoadPage() {
  std::vector<Row> page;
  size_t bytes = 0;
  while (page.size() < kPageRows && bytes < kPageBytes) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<OldRow> logged, old_rows_->Next());
    if (!logged.has_value()) break;
    Row row{{.ordinal = logged->ordinal, .key = Own(logged->key)}};
    std::optional<std::string> key = PostgresKeyText(table(), logged->key);
    if (!key.has_value()) {
      report_.Leave(logged->key, absl::StrCat("its key cannot be in the column `", table().key, "` any more"));
      continue;
    }
    row.key_text = *std::move(key);
    if (logged->content.has_value()) {
      row.old = std::string(*logged->content);
      bytes += row.old->size();
      ABSL_RETURN_IF_ERROR(ParseCells(*row.old, filled_.columns.size()).status());
    }
    page.push_back(std::move(row));
  }
  return page;
}

absl::Status TableRollback::Read(absl::Span<Row> rows) {
  for (Row& row : rows) row.there = false;
  const std::string keys = KeyArray(table(), rows, [](const Row& row) -> const std::string& { return row.key_text; });
  // Nobody changes a row between its being looked at and its being put back.
  return connection()->Stream(
      ReadSql(table(), filled_, 0) + " FOR UPDATE OF t", {PostgresValue::Binary(keys)}, [&](const PostgresRows& found) {
        Row& row = rows[IndexOf(found)];
        row.there = true;
        row.now.clear();
        for (size_t i = 0; i < filled_.columns.size(); ++i) {
          const Cell cell = CellOf(found, static_cast<int>(i) + 1);
          row.now.push_back(cell.has_value() ? std::optional<std::string>(std::string(*cell)) : std::nullopt);
        }
        return true;
      });
}

absl::StatusOr<bool> TableRollback::IsAsBefore(const Row& row) const {
  if (row.there != row.old.has_value()) return false;
  if (!row.there) return true;
  ABSL_ASSIGN_OR_RETURN(const Cells cells, ParseCells(*row.old, filled_.columns.size()));
  for (size_t i = 0; i < cells.size(); ++i) {
    if (cells[i].has_value() && !row.HoldsNow(i, *cells[i])) return false;
  }
  return true;
}

absl::StatusOr<bool> TableRollback::HoldsWhatWasWritten(const Row& row) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<absl::Span<const float>> written, old_rows_->WrittenVector(row.ordinal));
  // Where nobody knows, a cell is put back, but no row is removed.
  if (!written.has_value() || !filled_.columns[0].exists) return row.old.has_value();
  if (!row.now[0].has_value()) return false;
  return PostgresCellHolds(*target_.vector, *row.now[0], *written);
}

absl::Status TableRollback::Restore(const std::vector<Row*>& rows, size_t first_column, RollbackReport* done) {
  if (rows.empty()) return absl::OkStatus();
  std::vector<std::string> arrays;
  std::string names, elements, sets;
  for (size_t i = first_column; i < filled_.columns.size(); ++i) {
    const PostgresFilled::Column& column = filled_.columns[i];
    if (!column.exists) continue;
    std::string& array = arrays.emplace_back(PostgresArrayHead(column.oid, rows.size()));
    for (const Row* const row : rows) {
      ABSL_ASSIGN_OR_RETURN(const Cells cells, ParseCells(*row->old, filled_.columns.size()));
      AppendCell(cells[i].has_value() ? *cells[i] : Cell(), &array);
    }
    absl::StrAppend(&elements, ", $", arrays.size() + 1, "::", column.type, "[]");
    absl::StrAppend(&names, ", c", i);
    absl::StrAppend(&sets, sets.empty() ? "" : ", ", QuotePostgresName(column.name), " = s.c", i);
  }
  if (arrays.empty()) {
    for (const Row* const row : rows) done->Leave(ViewOf(row->key), "the column that held it is gone");
    return absl::OkStatus();
  }
  const std::string keys = KeysOf(rows);
  std::vector<PostgresValue> values = {PostgresValue::Binary(keys)};
  for (const std::string& array : arrays) values.push_back(PostgresValue::Binary(array));
  return ChangePostgresRows(
      connection(),
      absl::StrCat("UPDATE ", table().Sql(), " AS t SET ", sets, " FROM unnest(", table().KeysSql(), elements,
                   ") WITH ORDINALITY AS s(k", names, ", n) WHERE t.", table().KeySql(), " = ", table().KeyOfSql("s.k"),
                   " RETURNING s.n"),
      values, Base(rows), "a trigger or policy of the table ignored the change", done);
}

absl::Status TableRollback::Remove(const std::vector<Row*>& rows, RollbackReport* done) {
  if (rows.empty()) return absl::OkStatus();
  const std::string keys = KeysOf(rows);
  return ChangePostgresRows(connection(),
                            absl::StrCat("DELETE FROM ", table().Sql(), " AS t USING unnest(", table().KeysSql(),
                                         ") WITH ORDINALITY AS s(k, n) WHERE t.", table().KeySql(), " = ",
                                         table().KeyOfSql("s.k"), " AND ", untouched_, " RETURNING s.n"),
                            {PostgresValue::Binary(keys)}, Base(rows),
                            "the job added this row, and somebody has filled other columns or refers to it since",
                            done);
}

absl::Status TableRollback::PutBackTogether(absl::Span<Row> rows, RollbackReport* done) {
  ABSL_RETURN_IF_ERROR(Read(rows));
  std::vector<Row*> whole, without_vector, added;
  for (Row& row : rows) {
    ABSL_ASSIGN_OR_RETURN(const bool as_before, IsAsBefore(row));
    if (as_before) {
      ++(row.sent ? done->rows_restored : done->rows_unchanged);
      continue;
    }
    if (!row.there) {
      ++done->rows_gone;
      continue;
    }
    ABSL_ASSIGN_OR_RETURN(const bool ours, HoldsWhatWasWritten(row));
    if (!ours) {
      done->Leave(ViewOf(row.key), "its vector is not the one that the job wrote");
    } else if (!row.old.has_value()) {
      added.push_back(&row);
    } else {
      const bool has_vector = static_cast<int32_t>(ReadInt32(*row.old)) != kNotKept;
      (has_vector ? whole : without_vector).push_back(&row);
    }
  }
  ABSL_RETURN_IF_ERROR(Restore(whole, 0, done));
  ABSL_RETURN_IF_ERROR(Restore(without_vector, 1, done));
  return Remove(added, done);
}

// A column that the job added and in which nothing is.
absl::Status TableRollback::TakeColumnAway(const std::string& column) {
  ABSL_ASSIGN_OR_RETURN(const bool made, HasNote(ColumnNote(column)));
  if (!made || table().Find(column) == nullptr) return absl::OkStatus();
  const std::string quoted = QuotePostgresName(column);
  const absl::Status dropped =
      DropPostgresUnlessUsed(connection(), table().Sql(),
                             absl::StrCat("SELECT 1 FROM ", table().Sql(), " WHERE ", quoted, " IS NOT NULL LIMIT 1"),
                             absl::StrCat("ALTER TABLE ", table().Sql(), " DROP COLUMN ", quoted));
  report_.notes.push_back(
      dropped.ok()
          ? absl::StrCat("took away the column ", column, ", which the job had made")
          : absl::StrCat("the column ", column, " stays, which the job had made: ", std::string(dropped.message())));
  return absl::OkStatus();
}

absl::StatusOr<RollbackReport> TableRollback::Run() {
  ABSL_ASSIGN_OR_RETURN(const bool made, HasNote(kTableNote));
  if (made) {
    if (target_.table.has_value()) {
      report_.notes.push_back(absl::StrCat("the table ", table().name, " stays, which the job had made: DROP TABLE ",
                                           table().Sql(), " if nobody needs it"));
    }
    return report_;
  }
  if (!target_.table.has_value()) {
    return absl::NotFoundError(absl::StrCat(target_.asked.address.name, ": the table `", target_.asked.table,
                                            "` is gone; nothing can be put back"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> names, old_rows_->FindNote(kNewColumnNote));
  if (names.has_value()) {
    ABSL_RETURN_IF_ERROR(SwapBack(*names == kSwap));
  }
  ABSL_RETURN_IF_ERROR(Prepare());
  while (true) {
    ABSL_ASSIGN_OR_RETURN(std::vector<Row> page, LoadPage());
    if (page.empty()) break;
    ABSL_RETURN_IF_ERROR(PutPostgresRowsBack(
        connection(), absl::MakeSpan(page),
        [this](absl::Span<Row> rows, RollbackReport* done) { return PutBackTogether(rows, done); }, &report_));
  }
  if (target_.asked.new_column.empty()) {
    ABSL_RETURN_IF_ERROR(SayPostgresIndexes(target_, &report_));
  }
  for (const PostgresFilled::Column& column : filled_.columns) {
    ABSL_RETURN_IF_ERROR(TakeColumnAway(column.name));
  }
  return report_;
}

}  // namespace

absl::StatusOr<Overwriting> PostgresOverwriting(const Location& location, const Model& model) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTarget target, OpenPostgresTarget(location, model, absl::ZeroDuration()));
  if (!target.table.has_value()) return Overwriting{.kind = Overwriting::Kind::kNothing};
  const PostgresLocation& asked = target.asked;
  const bool is_beside = !asked.new_column.empty() && target.vector->name == asked.new_column;
  if (is_beside && target.table->Find(asked.vector) != nullptr) return Overwriting{.kind = Overwriting::Kind::kSwitch};
  return Overwriting{.kind = target.vector->exists ? Overwriting::Kind::kRows : Overwriting::Kind::kNothing};
}

absl::StatusOr<RollbackReport> RollBackPostgres(const Location& location, UndoReader* old_rows,
                                                const PostgresSinkOptions& options) {
  ABSL_ASSIGN_OR_RETURN(PostgresTarget target, OpenPostgresTarget(location, {}, options.patience));
  return TableRollback(std::move(target), old_rows).Run();
}

}  // namespace reembed
