#include "io/store/libsql_sink.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "io/store/hrana.h"
#include "io/store/libsql_db.h"
#include "io/store/sqlite_target.h"

namespace reembed {
namespace {

// Proxies before servers take bodies of 10 MB at most, and a transaction has 5 seconds.
constexpr size_t kBatchBytes = size_t{2} << 20;
constexpr size_t kBatchRows = 1024;

std::string VectorType(const SqliteLocation& asked, int dim) {
  return IsText(asked.encoding) ? "" : absl::StrCat("F32_BLOB(", dim, ")");
}

// libSQL's vector types promise a form and a width, but the server checks them only where there is an index.
// Source: libsql-sqlite3/src/vectorIndex.c, the names of column types.
absl::Status CheckVectorColumn(const SqliteTarget& target, int dim) {
  if (!target.table.has_value()) return absl::OkStatus();
  const SqliteTable::Column* const column = target.table->Find(target.asked.vector);
  if (column == nullptr) return absl::OkStatus();
  const auto refuse = [&](absl::string_view what) {
    return absl::FailedPreconditionError(absl::StrCat(target.table->path, ": table `", target.table->name,
                                                      "`: column `", column->name, "` is ", column->type, "; ", what));
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
  if (width == dim) return absl::OkStatus();
  return refuse(absl::StrCat("this job makes vectors of ", dim, " numbers: use --dimensions ", width,
                             ", or name another column, which will be added"));
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

absl::StatusOr<LibsqlTarget> OpenTarget(const Location& location, int dim, absl::Duration patience) {
  absl::StatusOr<SqliteLocation> asked = ParseSqliteTarget(location);
  if (!asked.ok()) return asked.status();
  absl::StatusOr<std::unique_ptr<SqlDb>> db = OpenLibsqlDb(location, patience);
  if (!db.ok()) return db.status();
  LibsqlTarget target{.db = *std::move(db), .dim = dim};
  target.table.asked = *std::move(asked);
  if (absl::Status status = target.Resolve(); !status.ok()) return status;
  return target;
}

SqliteValue KeyValue(KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) return {.type = SqliteType::kInteger, .integer = *number};
  return {.type = SqliteType::kText, .bytes = std::get<absl::string_view>(key)};
}

class LibsqlSink final : public VectorSink {
 public:
  LibsqlSink(LibsqlTarget target, const Model& model, std::unique_ptr<HranaConnection> connection)
      : target_(std::move(target)), model_(model), connection_(std::move(connection)) {}

  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override {
    if (context.model.dim != model_.dim) {
      return absl::FailedPreconditionError(
          absl::StrCat(target_.db->path(), ": expected vectors of ", model_.dim, " numbers, got ", context.model.dim));
    }
    // Looked at again: the application may have changed its tables since MakeLibsqlSink.
    if (absl::Status status = target_.Resolve(); !status.ok()) return status;
    const bool lacked_vector = target_.table.lacks_vector;
    const std::vector<std::string> changes = target_.table.changes;
    for (const std::string& change : changes) {
      const absl::Status made = target_.db->Exec(change);
      // A change whose answer was lost is refused when it is sent again; what is there then is looked at.
      if (!made.ok() && !absl::IsInvalidArgument(made)) return made;
      if (absl::Status status = target_.Resolve(); !status.ok()) return status;
      const bool there =
          std::find(target_.table.changes.begin(), target_.table.changes.end(), change) == target_.table.changes.end();
      if (!there) return made;
    }
    // Also makes the connection one that has been answered, and so waits for a server that goes away.
    if (absl::Status known = connection_->CountParameters(StoreSql(target_.table)).status(); !known.ok()) return known;
    batch_.emplace(StoreSql(target_.table));
    absl::StatusOr<SqliteStatement> find = target_.db->Prepare(FindSql(target_.table));
    if (!find.ok()) return find.status();
    find_ = *std::move(find);
    // What was not there a moment ago holds nothing of an earlier run.
    return lacked_vector ? 0 : last.position;
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    rows_.clear();
    for (const Batch* batch : batches) {
      if (batch->dim() != model_.dim) return absl::InternalError("a batch of another width");
      for (const BatchRow& row : batch->rows()) {
        if (row.vector != nullptr) rows_.push_back(&row);
      }
    }
    // Rows are numbered in the order of the source, which is the order of the table when both are the same.
    std::sort(rows_.begin(), rows_.end(), [](const BatchRow* a, const BatchRow* b) { return a->ordinal < b->ordinal; });
    absl::Span<const BatchRow* const> left = rows_;
    while (!left.empty()) {
      absl::StatusOr<size_t> stored = StoreSome(left, refused);
      if (!stored.ok()) return stored.status();
      left.remove_prefix(*stored);
    }
    return absl::OkStatus();
  }

  absl::Status Flush() override { return absl::OkStatus(); }
  absl::Status Finish() override { return absl::OkStatus(); }

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

  // Stores the first rows of `rows` and returns how many; those that the table refuses count too.
  absl::StatusOr<size_t> StoreSome(absl::Span<const BatchRow* const> rows, std::vector<RefusedRow>* refused) {
    std::vector<const BatchRow*> sent;
    std::vector<RefusedRow> refused_here;
    size_t taken = 0;
    batch_->Clear();
    while (taken < rows.size() && taken < batch_rows_ && batch_->size_bytes() < kBatchBytes) {
      Add(*rows[taken]);
      sent.push_back(rows[taken++]);
    }
    while (!sent.empty()) {
      absl::Status status = connection_->Transact(*batch_, &steps_);
      if (absl::IsDeadlineExceeded(status) && taken > 1) {
        batch_rows_ = std::max<size_t>(1, taken / 2);
        return 0;
      }
      if (!status.ok() && !absl::IsAborted(status)) return status;
      const bool stored = status.ok();
      std::vector<const BatchRow*> again;
      for (size_t i = 0; i < sent.size(); ++i) {
        status = TakeStep(*sent[i], steps_[i], stored, &refused_here);
        if (absl::IsAborted(status)) {
          again.push_back(sent[i]);
        } else if (!status.ok()) {
          return status;
        }
      }
      if (again.size() == sent.size()) return absl::InternalError(RowMessage(*sent[0], "ended the transaction"));
      // RAISE(ROLLBACK) throws away the other rows too; they get their turn again, without the one that did it.
      sent = std::move(again);
      batch_->Clear();
      for (const BatchRow* const row : sent) Add(*row);
    }
    refused->insert(refused->end(), refused_here.begin(), refused_here.end());
    return taken;
  }

  // Adds the row to `refused` when the table refuses it. kAborted: it must be sent again. Errors: everything else.
  absl::Status TakeStep(const BatchRow& row, const HranaStep& step, bool stored, std::vector<RefusedRow>* refused) {
    if (step.refused) {
      absl::string_view words = step.status.message();
      absl::ConsumePrefix(&words, absl::StrCat(target_.db->path(), ": "));
      refused->push_back({row.ordinal, absl::FailedPreconditionError(RowMessage(row, words))});
      return absl::OkStatus();
    }
    if (!stored) return absl::AbortedError("");
    if (!step.status.ok()) return step.status;
    if (step.changed_rows > 0) return absl::OkStatus();
    find_.BindKey(1, row.key);
    const absl::StatusOr<bool> found = find_.Step();
    if (!found.ok()) return found.status();
    find_.Reset();
    refused->push_back({row.ordinal, *found ? absl::FailedPreconditionError(
                                                  RowMessage(row, "a trigger of the table ignored the change"))
                                            : absl::NotFoundError(RowMessage(row, "is gone from the target"))});
    return absl::OkStatus();
  }

  std::string RowMessage(const BatchRow& row, absl::string_view what) const {
    return absl::StrCat(target_.db->path(), ": table `", target_.table.table->name, "`: row ", KeyText(row.key), ": ",
                        what);
  }

  LibsqlTarget target_;
  const Model model_;
  const std::unique_ptr<HranaConnection> connection_;
  SqliteStatement find_;             // after target_: statements end before their connection
  std::optional<HranaBatch> batch_;  // set by Open()
  size_t batch_rows_ = kBatchRows;
  std::vector<const BatchRow*> rows_;  // of one Write()
  std::vector<HranaStep> steps_;
  std::string cell_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeLibsqlSink(const Location& location, const Model& model,
                                                           const LibsqlSinkOptions& options) {
  if (model.dim <= 0) return absl::InternalError("a model without a width");
  absl::StatusOr<LibsqlTarget> target = OpenTarget(location, model.dim, options.patience);
  if (!target.ok()) return target.status();
  absl::StatusOr<HranaServer> server = ParseLibsqlServer(location);
  if (!server.ok()) return server.status();
  absl::StatusOr<std::unique_ptr<HranaConnection>> connection =
      HranaConnection::Make(*std::move(server), options.patience);
  if (!connection.ok()) return connection.status();
  return std::make_unique<LibsqlSink>(*std::move(target), model, *std::move(connection));
}

absl::StatusOr<std::vector<std::string>> LibsqlChanges(const Location& location, const Model& model) {
  const absl::StatusOr<LibsqlTarget> target = OpenTarget(location, model.dim, absl::Minutes(2));
  if (!target.ok()) return target.status();
  std::vector<std::string> changes;
  if (!target->table.table.has_value()) changes.push_back(absl::StrCat("makes the table ", target->table.asked.table));
  for (const std::string& column : target->table.missing_columns) {
    changes.push_back(absl::StrCat("adds the column ", column, " to ", target->table.asked.table));
  }
  if (!target->table.table.has_value()) return changes;
  absl::StatusOr<SqliteStatement> find = target->db->Prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1 AND sql LIKE '%libsql_vector_idx%'");
  if (!find.ok()) return find.status();
  find->BindText(1, target->table.table->name);
  while (true) {
    const absl::StatusOr<bool> row = find->Step();
    if (!row.ok()) return row.status();
    if (!*row) return changes;
    changes.push_back(absl::StrCat("keeps the vector index ", find->Text(0),
                                   " up to date at every row, which is slow; drop it before and make it again after"));
  }
}

}  // namespace reembed
