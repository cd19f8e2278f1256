// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/libsql_sink.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "engine/table_sink.h"
#include "io/store/sqlite/hrana.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/libsql_mark.h"
#include "io/store/sqlite/sqlite_target.h"
#include "io/store/sqlite/sqlite_undo.h"

namespace reembed {
namespace {

// Proxies before servers take bodies of 10 MB at most, and a transaction has 5 seconds.
constexpr size_t kBatchBytes = size_t{2} << 20;
constexpr size_t kBatchRows = 256;

std::string VectorType(const SqliteLocation& asked, int dim) {
  return IsText(asked.encoding) ? "" : absl::StrCat("F32_BLOB(", dim, ")");
}

// libSQL's vector types promise a form and a width, but the server checks them only where there is an index.
// Source: libsql-sqlite3/src/vectorIndex.c, the names of column types.
// `dim` 0: nothing new is written.
absl::Status CheckVectorColumn(const SqliteTarget& target, int dim) {
  if (!target.table.has_value()) return absl::OkStatus();
  const SqliteTable::Column* const column = target.table->Find(target.asked.vector);
  if (column == nullptr) return absl::OkStatus();
  const std::string where = absl::StrCat(target.table->path, ": table `", target.table->name, "`: column `",
                                         column->name, "` of type ", column->type);
  const auto refuse = [&where](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat(where, "; ", what));
  };
  absl::string_view type = column->type;
  for (const absl::string_view other : {"F64_BLOB", "FLOAT64", "F16_BLOB", "FLOAT16", "FB16_BLOB", "FLOATB16",
                                        "F8_BLOB", "FLOAT8", "F1BIT_BLOB", "FLOAT1BIT"}) {
    if (absl::StartsWith(type, absl::StrCat(other, "("))) {
      return refuse("this version writes F32_BLOB; name another column, which will be added");
    }
  }
  if (!absl::ConsumePrefix(&type, "F32_BLOB") && !absl::ConsumePrefix(&type, "FLOAT32")) return absl::OkStatus();
  if (IsText(target.asked.encoding)) return refuse("leave encoding= out, as it takes no text");
  int width;
  if (!absl::ConsumePrefix(&type, "(") || !absl::ConsumeSuffix(&type, ")") || !absl::SimpleAtoi(type, &width)) {
    return absl::OkStatus();
  }
  if (width == dim || dim == 0) return absl::OkStatus();
  return OtherWidthError(where, width, dim, "name another column, which will be added");
}

// A target with the server it is on.
struct LibsqlTarget {
  SqliteTarget table;
  std::unique_ptr<SqlDb> db;
  int dim = 0;

  absl::Status Resolve() {
    absl::Status status = ResolveSqliteTarget(*db, &table, VectorType(table.asked, dim));
    return status.ok() ? CheckVectorColumn(table, dim) : status;
  }
};

absl::StatusOr<LibsqlTarget> OpenTarget(const Location& location, int dim, absl::Duration patience,
                                        bool is_rolled_back = false) {
  ABSL_ASSIGN_OR_RETURN(SqliteLocation asked, ParseSqliteTarget(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqlDb> db, OpenLibsqlDb(location, patience));
  LibsqlTarget target{.db = std::move(db), .dim = dim};
  target.table.asked = std::move(asked);
  target.table.is_rolled_back = is_rolled_back;
  ABSL_RETURN_IF_ERROR(target.Resolve());
  return target;
}

SqliteValue KeyValue(KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) return {.type = SqliteType::kInteger, .integer = *number};
  return {.type = SqliteType::kText, .bytes = std::get<absl::string_view>(key)};
}

// One statement for many rows, in transactions that fit the server. Used by one thread.
class RowTransactions {
 public:
  explicit RowTransactions(HranaConnection* connection) : connection_(connection) {}

  // Counts each transaction. It outlives this.
  void SetMark(LibsqlMark* mark) { mark_ = mark; }

  // `add` puts the arguments of a row, from 0 to `rows`, into the batch; `take` gets what became of it, once: it was
  // refused, or it is stored. Errors: those of the connection, and of `take`.
  absl::Status Run(HranaBatch* batch, size_t rows, absl::FunctionRef<absl::Status(size_t)> add,
                   absl::FunctionRef<absl::Status(size_t, const HranaStep&)> take) {
    size_t done = 0;
    while (done < rows) {
      ABSL_ASSIGN_OR_RETURN(size_t taken, RunSome(batch, done, rows, add, take));
      done += taken;
    }
    return absl::OkStatus();
  }

 private:
  // The first rows from `first` on; returns how many.
  absl::StatusOr<size_t> RunSome(HranaBatch* batch, size_t first, size_t rows,
                                 absl::FunctionRef<absl::Status(size_t)> add,
                                 absl::FunctionRef<absl::Status(size_t, const HranaStep&)> take) {
    std::vector<size_t> sent;
    std::vector<std::pair<size_t, HranaStep>> final_steps;
    batch->Clear();
    while (first + sent.size() < rows && sent.size() < batch_rows_ && batch->size_bytes() < kBatchBytes) {
      ABSL_RETURN_IF_ERROR(add(first + sent.size()));
      sent.push_back(first + sent.size());
    }
    const size_t taken = sent.size();
    while (!sent.empty()) {
      const bool counts = mark_ != nullptr && mark_->counts();
      if (counts) mark_->AddTo(batch);
      absl::Status status = connection_->Transact(*batch, &steps_);
      if (absl::IsDeadlineExceeded(status) && taken > 1) {
        batch_rows_ = std::max<size_t>(1, taken / 2);
        return 0;
      }
      if (!status.ok() && !absl::IsAborted(status)) return status;
      const bool stored = status.ok();
      if (stored && counts) {
        ABSL_RETURN_IF_ERROR(mark_->Take(steps_.back()));
      }
      std::vector<size_t> again;
      for (size_t i = 0; i < sent.size(); ++i) {
        if (!steps_[i].refused && !stored) {
          again.push_back(sent[i]);
        } else if (!steps_[i].refused && !steps_[i].status.ok()) {
          return steps_[i].status;
        } else {
          final_steps.emplace_back(sent[i], steps_[i]);
        }
      }
      if (again.size() == sent.size()) {
        return absl::InternalError(absl::StrCat(connection_->server().name, ": a row ended the transaction unseen"));
      }
      // RAISE(ROLLBACK) throws away the other rows too; they get their turn again, without the one that did it.
      sent = std::move(again);
      batch->Clear();
      for (const size_t row : sent) {
        ABSL_RETURN_IF_ERROR(add(row));
      }
    }
    for (const auto& [row, step] : final_steps) {
      ABSL_RETURN_IF_ERROR(take(row, step));
    }
    return taken;
  }

  HranaConnection* const connection_;
  LibsqlMark* mark_ = nullptr;
  size_t batch_rows_ = kBatchRows;
  std::vector<HranaStep> steps_;
};

// The table's own words, without the server's name, which the message has already.
absl::string_view RefusalWords(const HranaStep& step, const SqlDb& db) {
  absl::string_view words = step.status.message();
  absl::ConsumePrefix(&words, absl::StrCat(db.path(), ": "));
  return words;
}

class LibsqlRowWriter final : public RowWriter {
 public:
  LibsqlRowWriter(LibsqlTarget target, const Model& model, std::unique_ptr<HranaConnection> connection)
      : target_(std::move(target)),
        model_(model),
        connection_(std::move(connection)),
        mark_(connection_->server().name, LeasePlace(target_.table.asked.table, target_.table.asked.vector),
              connection_.get()),
        transactions_(connection_.get()),
        cells_(target_.db.get(), &target_.table) {}

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    // Looked at again: the application may have changed its tables since MakeLibsqlSink.
    ABSL_RETURN_IF_ERROR(target_.Resolve());
    const bool lacked_vector = target_.table.lacks_vector;
    const std::vector<std::string> changes = target_.table.changes;
    if (context.undo != nullptr && !changes.empty()) {
      ABSL_RETURN_IF_ERROR(LogWhatIsMissing(target_.table, context.undo));
    }
    for (const std::string& change : changes) {
      const absl::Status made = target_.db->Exec(change);
      // A change whose answer was lost is refused when it is sent again; what is there then is looked at.
      if (!made.ok() && !absl::IsInvalidArgument(made)) return made;
      ABSL_RETURN_IF_ERROR(target_.Resolve());
      const bool there =
          std::find(target_.table.changes.begin(), target_.table.changes.end(), change) == target_.table.changes.end();
      if (!there) return made;
    }
    return lacked_vector;
  }

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    ABSL_RETURN_IF_ERROR(target_.Resolve());
    if (!target_.table.changes.empty()) return NotPrepared(target_.table, target_.db->path());
    undo_ = context.undo;
    // Also makes the connection one that has been answered, and so waits for a server that goes away.
    ABSL_RETURN_IF_ERROR(connection_->CountParameters(StoreSql(target_.table)).status());
    batch_.emplace(StoreSql(target_.table));
    ABSL_ASSIGN_OR_RETURN(find_, target_.db->Prepare(FindSql(target_.table)));
    transactions_.SetMark(&mark_);
    return mark_.Begin(last.position);
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    ABSL_RETURN_IF_ERROR(LogOldCells(rows, target_.table, &cells_, undo_));
    return transactions_.Run(
        &*batch_, rows.size(),
        [&](size_t row) {
          Add(*rows[row]->row);
          return absl::OkStatus();
        },
        [&](size_t row, const HranaStep& step) { return TakeStep(step, rows[row]); });
  }

  absl::Status Flush() override { return mark_.Check(); }
  absl::Status Complete() override { return mark_.is_shared() ? mark_.End() : mark_.Check(); }
  // What this sink has completed may be lost until the job is done.
  absl::Status Publish(const SinkContext&) override { return mark_.End(); }

 private:
  void Add(const BatchRow& row) {
    std::array<SqliteValue, 4> values;
    values[0] = KeyValue(row.key);
    const bool text = IsText(target_.table.asked.encoding);
    values[1] = {
        .type = text ? SqliteType::kText : SqliteType::kBlob,
        .bytes = EncodeVector(target_.table.asked.encoding, {row.vector, static_cast<size_t>(model_.dim)}, &cell_)};
    size_t used = 2;
    if (!target_.table.asked.model_column.empty()) {
      values[2] = {.type = SqliteType::kText, .bytes = model_.name};
      used = 3;
    }
    if (!target_.table.asked.dim_column.empty()) {
      values[3] = {.type = SqliteType::kInteger, .integer = model_.dim};
      used = 4;
    }
    batch_->Add(absl::MakeConstSpan(values).subspan(0, used));
  }

  // Sets row->refusal when the table refuses the row.
  absl::Status TakeStep(const HranaStep& step, RowToWrite* row) {
    if (step.refused) {
      row->Refuse(RefusalWords(step, *target_.db));
      return absl::OkStatus();
    }
    if (step.changed_rows > 0) return absl::OkStatus();
    return ExplainUnchanged(&find_, row);
  }

  LibsqlTarget target_;
  const Model model_;
  const std::unique_ptr<HranaConnection> connection_;
  LibsqlMark mark_;
  RowTransactions transactions_;
  SqliteStatement find_;             // after target_: statements end before their connection
  CellReader cells_;                 // likewise
  std::optional<HranaBatch> batch_;  // set by Open()
  UndoLog* undo_ = nullptr;
  std::string cell_;
};

// Changes rows by transactions that are each whole in one request, so that nothing holds between Begin() and Apply().
class ServerCellWriter final : public CellWriter {
 public:
  ServerCellWriter(const LibsqlTarget* target, HranaConnection* connection)
      : target_(target), transactions_(connection) {}

  absl::Status Begin() override { return absl::OkStatus(); }

  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome> outcomes) override {
    std::vector<size_t> restored, removed;
    for (size_t i = 0; i < changes.size(); ++i) (changes[i].content.has_value() ? restored : removed).push_back(i);
    ABSL_RETURN_IF_ERROR(Run(RestoreSql(target_->table), changes, restored, outcomes));
    return Run(RemoveSql(target_->table), changes, removed, outcomes);
  }

 private:
  // The changes with these places.
  absl::Status Run(absl::string_view sql, absl::Span<const RowChange> changes, absl::Span<const size_t> places,
                   absl::Span<RowOutcome> outcomes) {
    HranaBatch batch(sql);
    const auto add = [&](size_t row) -> absl::Status {
      const RowChange& change = changes[places[row]];
      std::vector<SqliteValue> arguments = {KeyValue(change.key)};
      if (change.content.has_value()) {
        ABSL_ASSIGN_OR_RETURN(const std::vector<SqliteValue> cells, ParseCells(*change.content));
        arguments.insert(arguments.end(), cells.begin(), cells.end());
      }
      batch.Add(arguments);
      return absl::OkStatus();
    };
    return transactions_.Run(&batch, places.size(), add, [&](size_t row, const HranaStep& step) {
      if (step.refused)
        outcomes[places[row]] = {RowOutcome::Kind::kRefused, std::string(RefusalWords(step, *target_->db))};
      return absl::OkStatus();
    });
  }

  const LibsqlTarget* const target_;
  RowTransactions transactions_;
};

absl::StatusOr<std::unique_ptr<HranaConnection>> Connect(const Location& location, absl::Duration patience) {
  ABSL_ASSIGN_OR_RETURN(HranaServer server, ParseLibsqlServer(location));
  return HranaConnection::Make(std::move(server), patience);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeLibsqlSink(const Location& location, const Model& model,
                                                           const LibsqlSinkOptions& options) {
  if (model.dim <= 0) return absl::InternalError("a model without a width");
  ABSL_ASSIGN_OR_RETURN(LibsqlTarget target, OpenTarget(location, model.dim, options.patience));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HranaConnection> connection, Connect(location, options.patience));
  if (target.table.table.has_value()) {
    // A token that may only read is told so by a statement that could write, and changes no row.
    const SqliteTable& table = *target.table.table;
    const absl::Status may = target.db->Exec(absl::StrCat(
        "UPDATE ", QuoteName(table.name), " SET ", QuoteName(table.key), " = ", QuoteName(table.key), " WHERE 0"));
    if (absl::IsFailedPrecondition(may) || absl::IsPermissionDenied(may) || absl::IsUnauthenticated(may)) return may;
  }
  const std::string place = target.table.Place(target.db->path());
  return MakeTableSink(place, model.dim,
                       std::make_unique<LibsqlRowWriter>(std::move(target), model, std::move(connection)));
}

absl::StatusOr<RollbackReport> RollBackLibsql(const Location& location, UndoReader* old_rows) {
  constexpr absl::Duration kPatience = absl::Minutes(2);
  ABSL_ASSIGN_OR_RETURN(const LibsqlTarget target, OpenTarget(location, 0, kPatience, /*is_rolled_back=*/true));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<HranaConnection> connection, Connect(location, kPatience));
  ServerCellWriter writer(&target, connection.get());
  return RollBackTable(*target.db, target.table, &writer, old_rows);
}

absl::StatusOr<std::vector<std::string>> LibsqlChanges(const Location& location, const Model& model) {
  ABSL_ASSIGN_OR_RETURN(const LibsqlTarget target, OpenTarget(location, model.dim, absl::Minutes(2)));
  std::vector<std::string> changes;
  if (!target.table.table.has_value()) changes.push_back(absl::StrCat("makes the table ", target.table.asked.table));
  for (const std::string& column : target.table.missing_columns) {
    changes.push_back(absl::StrCat("adds the column ", column, " to ", target.table.asked.table));
  }
  if (!target.table.table.has_value()) return changes;
  ABSL_ASSIGN_OR_RETURN(
      SqliteStatement find,
      target.db->Prepare(
          "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql LIKE '%libsql_vector_idx%'"));
  find.BindText(1, target.table.table->name);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool row, find.Step());
    if (!row) return changes;
    changes.push_back(absl::StrCat("keeps the vector index ", find.Text(0),
                                   " up to date at every row, which is slow; drop it before and make it again after"));
  }
}

}  // namespace reembed
