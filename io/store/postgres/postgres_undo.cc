// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_undo.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/rollback.h"
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

// One piece of LogPostgresRows().
absl::Status KeepPiece(const PostgresFilled& filled, absl::Span<RowToWrite* const> rows, PostgresTarget* target,
                       UndoLog* log) {
  const PostgresTable& table = *target->table;
  const std::string keys = KeyArray(table, rows, [](const RowToWrite* row) -> const std::string& { return *row->key; });
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
  return LogOldRows(rows, log, [&](size_t row, std::optional<absl::string_view>* content) -> absl::StatusOr<bool> {
    *content = contents[row];
    return content->has_value() || adds;
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

absl::Status LogPostgresRows(const PostgresFilled& filled, absl::Span<RowToWrite* const> rows, PostgresTarget* target,
                             UndoLog* log) {
  if (log == nullptr || filled.kept_from == filled.columns.size()) return absl::OkStatus();
  const size_t piece =
      std::clamp<size_t>(kKeptBytes / (static_cast<size_t>(target->model.dim) * sizeof(float) + 64), 1, kKeptRows);
  for (size_t begin = 0; begin < rows.size(); begin += piece) {
    ABSL_RETURN_IF_ERROR(KeepPiece(filled, rows.subspan(begin, piece), target, log));
  }
  return absl::OkStatus();
}

absl::Status LogPostgresChanges(const PostgresTarget& target, UndoLog* log) {
  const PostgresLocation& asked = target.asked;
  absl::Status kept;
  if (!asked.new_column.empty()) {
    if (target.vector->name == asked.new_column) {
      kept = log->LogNote(kNewColumnNote, target.table->Find(asked.vector) != nullptr ? kSwap : kRename);
    }
  } else if (!target.vector->exists) {
    kept = log->LogNote(ColumnNote(target.vector->name), kMade);
  }
  if (kept.ok() && target.model_column_missing) kept = log->LogNote(ColumnNote(asked.model_column), kMade);
  return kept;
}

absl::Status LogPostgresTableMade(UndoLog* log) { return log->LogNote(kTableNote, kMade); }

namespace {

// Texts of those keys that the key column can have.
struct AskedRow {
  size_t place = 0;
  std::string key_text;
};

class TableRows final : public PostgresRowTable {
 public:
  TableRows(PostgresTarget* target, PostgresFilled filled) : PostgresRowTable(target), filled_(std::move(filled)) {}

  absl::Status Prepare();
  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override;
  absl::Status TakeAway(UndoReader* log, RollbackReport* report) override;

 private:
  absl::Status Look(absl::Span<const OldRow> rows, absl::Span<RowNow> now) override;
  absl::Status Change(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override;
  absl::StatusOr<std::string> ContentNow(const OldRow& old, const PostgresRows& found) const;
  absl::Status Restore(absl::Span<const RowChange> changes, const std::vector<size_t>& places, size_t first_column,
                       absl::Span<RowOutcome> outcomes);
  absl::Status Remove(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                      absl::Span<RowOutcome> outcomes);
  std::string KeysOf(absl::Span<const RowChange> changes, const std::vector<size_t>& places) const;
  absl::Status TakeColumnAway(const std::string& column, UndoReader* log, RollbackReport* report);

  const PostgresFilled filled_;
  std::string untouched_;  // SQL: besides what a sink fills the row has nothing but defaults, and nobody refers to it
};

absl::StatusOr<bool> HasNote(absl::string_view name, UndoReader* log) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> note, log->FindNote(name));
  return note.has_value();
}

// Gives the columns of new_column= their old names.
absl::Status SwapBack(bool has_old, PostgresTarget* target, RollbackReport* report) {
  const PostgresLocation& asked = target->asked;
  if (IsPostgresSwapped(*target->table, asked)) {
    ABSL_ASSIGN_OR_RETURN(const std::string sql, PostgresSwapBackSql(*target->table, asked, has_old));
    ABSL_RETURN_IF_ERROR(target->connection->Run(sql));
    ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(target));
    report->notes.push_back(
        has_old ? absl::StrCat("the column ", asked.vector, " is the old one again, with its indexes and views")
                : absl::StrCat("there is no column ", asked.vector, " again"));
  }
  if (target->vector->exists && target->vector->name == asked.new_column) {
    report->notes.push_back(absl::StrCat(
        "the column ", asked.new_column, " stays, with the new vectors and its indexes: ALTER TABLE ",
        target->table->Sql(), " DROP COLUMN ", QuotePostgresName(asked.new_column), " if nobody needs it"));
  }
  return absl::OkStatus();
}

// A filled column without which a row cannot be asked what it holds; empty: there is none. What the job added held
// nothing before, and an earlier rollback may have taken it away.
absl::StatusOr<std::string> FindLostColumn(const PostgresFilled& filled, UndoReader* log) {
  for (size_t i = filled.kept_from; i < filled.columns.size(); ++i) {
    const PostgresFilled::Column& column = filled.columns[i];
    if (column.exists) continue;
    ABSL_ASSIGN_OR_RETURN(const bool made, HasNote(ColumnNote(column.name), log));
    if (!made) return absl::StrCat("the column ", column.name, " is gone from the table");
  }
  return std::string();
}

absl::Status TableRows::Prepare() {
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

absl::Status TableRows::Look(absl::Span<const OldRow> rows, absl::Span<RowNow> now) {
  std::vector<AskedRow> asked;
  for (size_t i = 0; i < rows.size(); ++i) {
    now[i].was_there = rows[i].content.has_value();
    if (std::optional<std::string> key = PostgresKeyText(table(), rows[i].key); key.has_value()) {
      asked.push_back({i, *std::move(key)});
    } else {
      now[i].there = true;
      now[i].stuck = absl::StrCat("its key cannot be in the column `", table().key, "` any more");
    }
  }
  const std::string keys =
      KeyArray(table(), asked, [](const AskedRow& row) -> const std::string& { return row.key_text; });
  absl::Status damaged;
  ABSL_RETURN_IF_ERROR(connection()->Stream(
      // Nobody changes a row between its being looked at and its being put back.
      ReadSql(table(), filled_, 0) + " FOR UPDATE OF t", {PostgresValue::Binary(keys)}, [&](const PostgresRows& found) {
        const size_t place = asked[IndexOf(found)].place;
        absl::StatusOr<std::string> content = ContentNow(rows[place], found);
        damaged.Update(content.status());
        now[place].there = true;
        if (content.ok()) now[place].content = *std::move(content);
        if (const Cell vector = CellOf(found, 1); vector.has_value()) AppendCell(vector, &now[place].vector);
        return true;
      }));
  return damaged;
}

absl::StatusOr<std::string> TableRows::ContentNow(const OldRow& old, const PostgresRows& found) const {
  Cells kept(filled_.columns.size(), Cell());
  if (old.content.has_value()) {
    ABSL_ASSIGN_OR_RETURN(kept, ParseCells(*old.content, filled_.columns.size()));
  }
  std::string content;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i].has_value()) {
      AppendCell(CellOf(found, static_cast<int>(i) + 1), &content);
    } else {
      AppendInt32(kNotKept, &content);
    }
  }
  return content;
}

absl::StatusOr<std::optional<bool>> TableRows::Holds(const RowNow& now, absl::Span<const float> written) {
  if (!filled_.columns[0].exists) return std::nullopt;
  if (now.vector.empty()) return false;
  return PostgresCellHolds(*target()->vector, absl::string_view(now.vector).substr(sizeof(int32_t)), written);
}

absl::Status TableRows::Change(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) {
  std::vector<size_t> whole, without_vector, added;
  for (size_t i = 0; i < changes.size(); ++i) {
    const std::optional<absl::string_view>& content = changes[i].content;
    if (!content.has_value()) {
      added.push_back(i);
    } else {
      (static_cast<int32_t>(ReadInt32(*content)) == kNotKept ? without_vector : whole).push_back(i);
    }
  }
  ABSL_RETURN_IF_ERROR(Restore(changes, whole, 0, outcomes));
  ABSL_RETURN_IF_ERROR(Restore(changes, without_vector, 1, outcomes));
  return Remove(changes, added, outcomes);
}

std::string TableRows::KeysOf(absl::Span<const RowChange> changes, const std::vector<size_t>& places) const {
  std::vector<std::string> texts;
  texts.reserve(places.size());
  for (const size_t place : places) texts.push_back(PostgresKeyText(table(), changes[place].key).value_or(""));
  return KeyArray(table(), texts, [](const std::string& text) -> const std::string& { return text; });
}

absl::Status TableRows::Restore(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                                size_t first_column, absl::Span<RowOutcome> outcomes) {
  if (places.empty()) return absl::OkStatus();
  std::vector<std::string> arrays;
  std::string names, elements, sets;
  for (size_t i = first_column; i < filled_.columns.size(); ++i) {
    const PostgresFilled::Column& column = filled_.columns[i];
    if (!column.exists) continue;
    std::string& array = arrays.emplace_back(PostgresArrayHead(column.oid, places.size()));
    for (const size_t place : places) {
      ABSL_ASSIGN_OR_RETURN(const Cells cells, ParseCells(*changes[place].content, filled_.columns.size()));
      AppendCell(cells[i].has_value() ? *cells[i] : Cell(), &array);
    }
    absl::StrAppend(&elements, ", $", arrays.size() + 1, "::", column.type, "[]");
    absl::StrAppend(&names, ", c", i);
    absl::StrAppend(&sets, sets.empty() ? "" : ", ", QuotePostgresName(column.name), " = s.c", i);
  }
  if (arrays.empty()) {
    for (const size_t place : places) {
      outcomes[place] = {RowOutcome::Kind::kRefused, "the column that held it is gone"};
    }
    return absl::OkStatus();
  }
  const std::string keys = KeysOf(changes, places);
  std::vector<PostgresValue> values = {PostgresValue::Binary(keys)};
  for (const std::string& array : arrays) values.push_back(PostgresValue::Binary(array));
  return ChangeRows(absl::StrCat("UPDATE ", table().Sql(), " AS t SET ", sets, " FROM unnest(", table().KeysSql(),
                                 elements, ") WITH ORDINALITY AS s(k", names, ", n) WHERE t.", table().KeySql(), " = ",
                                 table().KeyOfSql("s.k"), " RETURNING s.n"),
                    values, places, "a trigger or policy of the table ignored the change", outcomes);
}

absl::Status TableRows::Remove(absl::Span<const RowChange> changes, const std::vector<size_t>& places,
                               absl::Span<RowOutcome> outcomes) {
  if (places.empty()) return absl::OkStatus();
  const std::string keys = KeysOf(changes, places);
  return ChangeRows(absl::StrCat("DELETE FROM ", table().Sql(), " AS t USING unnest(", table().KeysSql(),
                                 ") WITH ORDINALITY AS s(k, n) WHERE t.", table().KeySql(), " = ",
                                 table().KeyOfSql("s.k"), " AND ", untouched_, " RETURNING s.n"),
                    {PostgresValue::Binary(keys)}, places,
                    "the job added this row, and somebody has filled other columns or refers to it since", outcomes);
}

// A column that the job added and in which nothing is.
absl::Status TableRows::TakeColumnAway(const std::string& column, UndoReader* log, RollbackReport* report) {
  ABSL_ASSIGN_OR_RETURN(const bool made, HasNote(ColumnNote(column), log));
  if (!made || table().Find(column) == nullptr) return absl::OkStatus();
  const std::string quoted = QuotePostgresName(column);
  const absl::Status dropped =
      DropPostgresUnlessUsed(connection(), table().Sql(),
                             absl::StrCat("SELECT 1 FROM ", table().Sql(), " WHERE ", quoted, " IS NOT NULL LIMIT 1"),
                             absl::StrCat("ALTER TABLE ", table().Sql(), " DROP COLUMN ", quoted));
  report->notes.push_back(
      dropped.ok()
          ? absl::StrCat("took away the column ", column, ", which the job had made")
          : absl::StrCat("the column ", column, " stays, which the job had made: ", std::string(dropped.message())));
  return absl::OkStatus();
}

absl::Status TableRows::TakeAway(UndoReader* log, RollbackReport* report) {
  if (target()->asked.new_column.empty()) {
    ABSL_RETURN_IF_ERROR(SayPostgresIndexes(*target(), report));
  }
  for (const PostgresFilled::Column& column : filled_.columns) {
    ABSL_RETURN_IF_ERROR(TakeColumnAway(column.name, log, report));
  }
  return absl::OkStatus();
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
  RollbackReport report;
  if (!target.table.has_value()) {
    ABSL_RETURN_IF_ERROR(
        CountRowsGone(old_rows, absl::StrCat("the table ", target.asked.table, " is not there any more"), &report));
    return report;
  }
  ABSL_ASSIGN_OR_RETURN(const bool made, HasNote(kTableNote, old_rows));
  if (made) {
    TakePostgresTableAway(target, &report);
    return report;
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> names, old_rows->FindNote(kNewColumnNote));
  if (names.has_value()) {
    ABSL_RETURN_IF_ERROR(SwapBack(*names == kSwap, &target, &report));
  }
  ABSL_ASSIGN_OR_RETURN(PostgresFilled filled, FindPostgresFilled(target));
  ABSL_ASSIGN_OR_RETURN(const std::string lost, FindLostColumn(filled, old_rows));
  if (!lost.empty()) {
    ABSL_RETURN_IF_ERROR(LeaveRows(old_rows, lost, &report));
    return report;
  }
  TableRows rows(&target, std::move(filled));
  ABSL_RETURN_IF_ERROR(rows.Prepare());
  return RollBackRows(absl::StrCat(target.asked.address.name, ": table `", target.table->name, "`"), &rows, old_rows,
                      std::move(report));
}

}  // namespace reembed
