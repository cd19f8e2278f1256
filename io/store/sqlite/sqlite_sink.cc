// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_sink.h"

#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_db.h"
#include "io/store/sqlite/sqlite_target.h"
#include "io/store/sqlite/sqlite_undo.h"
#include "io/store/sqlite/sqlite_vec.h"
#include "io/store/sqlite/sqlite_vec_width.h"

namespace reembed {
namespace {

// A target with its file.
struct Target : SqliteTarget {
  std::unique_ptr<SqliteDb> db;  // null: the file is to be made
};

// Also an empty one: SQLite makes the file before it writes to it, and a run may have been killed between.
bool IsToBeMade(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return true;
  return std::filesystem::is_regular_file(status) && std::filesystem::file_size(path, error) == 0 && !error;
}

absl::StatusOr<Target> OpenTarget(const Location& location, SqliteAccess access, absl::Duration busy_timeout,
                                  bool is_rolled_back = false) {
  ABSL_ASSIGN_OR_RETURN(SqliteLocation asked, ParseSqliteTarget(location));
  Target target;
  target.is_rolled_back = is_rolled_back;
  target.asked = std::move(asked);
  const std::filesystem::path folder = std::filesystem::path(target.asked.path).parent_path();
  const std::string folder_name = folder.empty() ? "." : folder.string();
  std::error_code error;
  if (target.asked.mode == SqliteLocation::Mode::kUpsert && IsToBeMade(target.asked.path)) {
    if (std::filesystem::is_directory(folder_name, error)) return target;
    return absl::NotFoundError(absl::StrCat(target.asked.path, ": no folder `", folder_name, "`; make it first"));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqliteDb> db, OpenSqliteFile(target.asked.place, access, busy_timeout));
  // SQLite keeps its journal beside the file.
  if (access != SqliteAccess::kReadOnly && ::access(folder_name.c_str(), W_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(target.asked.path,
                     ": the folder is write-protected, and SQLite keeps its journal there; make it "
                     "writable, or work on a copy"));
  }
  target.db = std::move(db);
  ABSL_RETURN_IF_ERROR(ResolveSqliteTarget(*target.db, &target));
  return target;
}

bool IsRefusal(int sqlite_code) {
  return sqlite_code == SQLITE_CONSTRAINT || sqlite_code == SQLITE_MISMATCH || sqlite_code == SQLITE_TOOBIG;
}

class SqliteRowWriter final : public RowWriter {
 public:
  SqliteRowWriter(Target target, const Model& model, const SqliteSinkOptions& options)
      : target_(std::move(target)), model_(model), options_(options) {}

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    if (target_.db == nullptr) {
      ABSL_ASSIGN_OR_RETURN(target_.db,
                            OpenSqliteFile(target_.asked.place, SqliteAccess::kCreate, options_.busy_timeout));
    }
    bool added = false;
    ABSL_RETURN_IF_ERROR(InTransaction([&] { return AddWhatIsMissing(context.undo, &added); }));
    return added;
  }

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    // Looked at again: it may have been made since the sink was, by whoever began the job.
    if (target_.db == nullptr && !IsToBeMade(target_.asked.path)) {
      ABSL_ASSIGN_OR_RETURN(target_.db,
                            OpenSqliteFile(target_.asked.place, SqliteAccess::kReadWrite, options_.busy_timeout));
    }
    if (target_.db == nullptr) return NotPrepared(target_, target_.asked.path);
    ABSL_RETURN_IF_ERROR(ResolveSqliteTarget(*target_.db, &target_));
    if (!target_.changes.empty()) return NotPrepared(target_, target_.asked.path);
    undo_ = context.undo;
    cells_.emplace(target_.db.get(), &target_);
    // Not kept in the file. What a transaction has changed stays in memory, however much it is, or else SQLite would
    // lock out readers long before the commit; between transactions 8 MiB, so that memory does not grow with a run.
    for (const char* const pragma : {"PRAGMA cache_size = -8192", "PRAGMA cache_spill = OFF"}) {
      ABSL_RETURN_IF_ERROR(target_.db->Exec(pragma));
    }
    ABSL_RETURN_IF_ERROR(PrepareStatements());
    return last.position;
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    return InTransaction([&] {
      // Under the lock: nobody changes a row between its being kept and its being overwritten.
      absl::Status kept = LogOldCells(rows, target_, &*cells_, undo_);
      return kept.ok() ? StoreRows(rows) : kept;
    });
  }

 private:
  template <typename Change>
  absl::Status InTransaction(const Change& change) {
    // IMMEDIATE waits for its turn before it reads anything; a lock that is wanted later may have to fail at once.
    absl::Status status = target_.db->Exec("BEGIN IMMEDIATE");
    if (status.ok()) status = change();
    KillPoint("sqlite: before the commit");
    if (status.ok()) status = target_.db->Exec("COMMIT");
    KillPoint("sqlite: committed");
    if (!status.ok() && target_.db->InTransaction()) {
      // Its own failure would hide the first one, and closing the connection rolls back as well.
      target_.db->Exec("ROLLBACK").IgnoreError();
    }
    return status;
  }

  absl::Status AddWhatIsMissing(UndoLog* undo, bool* added) {
    // Looked at again under the lock: the application may have changed its tables since MakeSqliteSink.
    ABSL_RETURN_IF_ERROR(ResolveSqliteTarget(*target_.db, &target_));
    *added = target_.lacks_vector;
    if (undo != nullptr && !target_.changes.empty()) {
      ABSL_RETURN_IF_ERROR(LogWhatIsMissing(target_, undo));
    }
    for (const std::string& change : target_.changes) {
      ABSL_RETURN_IF_ERROR(target_.db->Exec(change));
    }
    return target_.changes.empty() ? absl::OkStatus() : ResolveSqliteTarget(*target_.db, &target_);
  }

  absl::Status PrepareStatements() {
    ABSL_ASSIGN_OR_RETURN(store_, target_.db->Prepare(StoreSql(target_)));
    if (StoresInTwoSteps(target_)) {
      ABSL_ASSIGN_OR_RETURN(insert_, target_.db->Prepare(InsertSql(target_)));
    }
    if (!target_.asked.model_column.empty()) store_.BindText(3, model_.name);
    if (!target_.asked.dim_column.empty()) store_.Bind(4, model_.dim);
    ABSL_ASSIGN_OR_RETURN(find_, target_.db->Prepare(FindSql(target_)));
    return absl::OkStatus();
  }

  absl::Status StoreRows(absl::Span<RowToWrite* const> rows) {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!rows[i]->refusal.ok()) continue;
      ABSL_RETURN_IF_ERROR(StoreRow(rows[i]));
      if (target_.db->InTransaction()) continue;
      // A trigger may refuse with RAISE(ROLLBACK), which throws away the rows before this one too. They get their turn
      // again, without it.
      ABSL_RETURN_IF_ERROR(target_.db->Exec("BEGIN IMMEDIATE"));
      i = static_cast<size_t>(-1);
    }
    return absl::OkStatus();
  }

  absl::Status RunFor(KeyView key, absl::string_view cell, SqliteStatement* statement) {
    statement->BindKey(1, key);
    if (IsText(target_.asked.encoding)) {
      statement->BindText(2, cell);
    } else {
      statement->BindBlob(2, cell);
    }
    return statement->Run();
  }

  // Takes back what is in the savepoint. A virtual table has no code of its own for what it does not take.
  absl::Status RefuseInserted(RowToWrite* row, absl::Status failure) {
    if (!IsRefusal(target_.db->LastCode()) && target_.db->LastCode() != SQLITE_ERROR) return failure;
    row->Refuse(target_.db->LastMessage());
    absl::Status back = target_.db->Exec("ROLLBACK TO reembed_row");
    return back.ok() ? target_.db->Exec("RELEASE reembed_row") : back;
  }

  // A row that store_ has not found.
  absl::Status InsertRow(RowToWrite* row, absl::string_view cell) {
    if (const std::string* const partition = target_.UnknownPartition(); partition != nullptr) {
      row->Refuse(NoPartition(*partition));
      return absl::OkStatus();
    }
    // A virtual table that refuses a row may have written a part of it into its own tables already.
    ABSL_RETURN_IF_ERROR(target_.db->Exec("SAVEPOINT reembed_row"));
    absl::Status inserted = RunFor(row->row->key, cell, &insert_);
    if (!inserted.ok()) return RefuseInserted(row, std::move(inserted));
    const bool added = target_.db->ChangedRows() > 0;
    ABSL_RETURN_IF_ERROR(target_.db->Exec("RELEASE reembed_row"));
    if (!added) row->Refuse("is not there, and its partition is NULL; see what set.COLUMN= gives for its key");
    return absl::OkStatus();
  }

  // Sets row->refusal when the table refuses the row. Errors: everything else.
  absl::Status StoreRow(RowToWrite* row) {
    const absl::Span<const float> vector(row->row->vector, static_cast<size_t>(model_.dim));
    const absl::string_view cell = EncodeVector(target_.asked.encoding, vector, &cell_);
    absl::Status stored = RunFor(row->row->key, cell, &store_);
    if (!stored.ok()) {
      if (!IsRefusal(target_.db->LastCode())) return stored;
      row->Refuse(target_.db->LastMessage());
      return absl::OkStatus();
    }
    if (target_.db->ChangedRows() > 0) return absl::OkStatus();
    if (insert_.prepared()) return InsertRow(row, cell);
    return ExplainUnchanged(&find_, row);
  }

  Target target_;
  const Model model_;
  const SqliteSinkOptions options_;
  SqliteStatement store_, find_;     // after target_: statements end before their connection
  SqliteStatement insert_;           // of a row that store_ has not found; likewise
  std::optional<CellReader> cells_;  // likewise
  UndoLog* undo_ = nullptr;
  std::string cell_;
};

// Changes the rows of a file, each Begin() to Apply() in one transaction.
class FileCellWriter final : public CellWriter {
 public:
  explicit FileCellWriter(const Target* target) : target_(target) {}

  absl::Status Begin() override { return target_->db->Exec("BEGIN IMMEDIATE"); }

  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override {
    for (size_t i = 0; i < changes.size(); ++i) {
      if (outcomes[i].kind == RowOutcome::Kind::kRefused) continue;
      absl::Status changed = Change(changes[i]);
      if (!changed.ok() && !absl::IsDataLoss(changed) && IsRefusal(target_->db->LastCode())) {
        outcomes[i] = {RowOutcome::Kind::kRefused, target_->db->LastMessage()};
        changed = absl::OkStatus();
      }
      ABSL_RETURN_IF_ERROR(changed);
      if (target_->db->InTransaction()) continue;
      // RAISE(ROLLBACK) threw away the rows before this one too.
      ABSL_RETURN_IF_ERROR(Begin());
      i = static_cast<size_t>(-1);
    }
    ABSL_RETURN_IF_ERROR(target_->db->Exec("COMMIT"));
    KillPoint("sqlite: rows put back");
    return absl::OkStatus();
  }

 private:
  absl::Status Change(const RowChange& change) {
    SqliteStatement& statement = change.content.has_value() ? restore_ : remove_;
    if (!statement.prepared()) {
      ABSL_ASSIGN_OR_RETURN(
          statement, target_->db->Prepare(change.content.has_value() ? RestoreSql(*target_) : RemoveSql(*target_)));
    }
    statement.BindKey(1, change.key);
    if (change.content.has_value()) {
      ABSL_ASSIGN_OR_RETURN(const std::vector<SqliteValue> cells, ParseCells(*change.content));
      for (size_t i = 0; i < cells.size(); ++i) statement.BindValue(static_cast<int>(i) + 2, cells[i]);
    }
    return statement.Run();
  }

  const Target* const target_;
  SqliteStatement restore_, remove_;
};

}  // namespace

absl::StatusOr<RollbackReport> RollBackSqlite(const Location& location, UndoReader* old_rows) {
  ABSL_ASSIGN_OR_RETURN(Target target,
                        OpenTarget(location, SqliteAccess::kReadWrite, absl::Seconds(30), /*is_rolled_back=*/true));
  if (target.db == nullptr) return absl::NotFoundError(absl::StrCat(target.asked.path, ": no such file"));
  ABSL_ASSIGN_OR_RETURN(std::optional<RollbackReport> other_width, RollBackVec0Width(*target.db, target, old_rows));
  if (other_width.has_value()) return *std::move(other_width);
  FileCellWriter writer(&target);
  return RollBackTable(*target.db, static_cast<const SqliteTarget&>(target), &writer, old_rows);
}

absl::StatusOr<std::unique_ptr<VectorSink>> MakeSqliteSink(const Location& location, const Model& model,
                                                           const SqliteSinkOptions& options) {
  if (model.dim <= 0) return absl::InternalError("a model without a width");
  ABSL_ASSIGN_OR_RETURN(Target target, OpenTarget(location, SqliteAccess::kReadWrite, options.busy_timeout));
  if (target.db != nullptr) {
    ABSL_ASSIGN_OR_RETURN(const int width, Vec0Width(*target.db, target));
    if (width != 0 && width != model.dim) {
      std::unique_ptr<SqliteDb> db = std::move(target.db);
      return MakeVec0WidthSink(location, std::move(target), std::move(db), model, options);
    }
  }
  const std::string place = target.Place(target.asked.path);
  return MakeTableSink(place, model.dim, std::make_unique<SqliteRowWriter>(std::move(target), model, options));
}

absl::StatusOr<std::unique_ptr<RowWriter>> MakeSqliteRowWriter(const Location& location, const Model& model,
                                                               const SqliteSinkOptions& options) {
  ABSL_ASSIGN_OR_RETURN(Target target, OpenTarget(location, SqliteAccess::kReadWrite, options.busy_timeout));
  return std::make_unique<SqliteRowWriter>(std::move(target), model, options);
}

absl::StatusOr<std::vector<std::string>> SqliteChanges(const Location& location, int dim) {
  ABSL_ASSIGN_OR_RETURN(const Target target, OpenTarget(location, SqliteAccess::kReadOnly, absl::Seconds(30)));
  std::vector<std::string> changes;
  for (const std::string& column : target.missing_columns) {
    changes.push_back(absl::StrCat("adds the column ", column, " to ", target.asked.table));
  }
  if (target.db == nullptr) return changes;
  ABSL_ASSIGN_OR_RETURN(const int width, Vec0Width(*target.db, target));
  if (width == 0 || width == dim) return changes;
  ABSL_ASSIGN_OR_RETURN(std::string change, Vec0WidthChange(*target.db, target, width, dim));
  changes.push_back(std::move(change));
  return changes;
}

}  // namespace reembed
