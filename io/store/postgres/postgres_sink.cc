// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_sink.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"
#include "engine/table_sink.h"
#include "io/store/postgres/postgres_error.h"
#include "io/store/postgres/postgres_index.h"
#include "io/store/postgres/postgres_new_column.h"
#include "io/store/postgres/postgres_target.h"
#include "io/store/postgres/postgres_undo.h"

namespace reembed {
namespace {

constexpr int64_t kStatementBytes = int64_t{2} << 20;  // measured: 1 to 8 MiB are about as fast
constexpr size_t kCopyPieceBytes = size_t{1} << 18;
constexpr int64_t kMaxStatementRows = 4096;
constexpr int kMaxCopyConflicts = 8;
constexpr char kUniqueViolation[] = "23505";
constexpr char kDuplicateColumn[] = "42701";
constexpr char kUndefinedColumn[] = "42703";
constexpr char kIgnored[] = "a trigger or policy of the table ignored the change";

class PostgresRowWriter final : public RowWriter {
 public:
  explicit PostgresRowWriter(PostgresTarget target) : target_(std::move(target)) {}

  // Whether the table takes the statement that will fill it; the server is asked, and changes nothing. What is still to
  // be made cannot be asked for.
  absl::Status Rehearse() {
    if (!target_.table.has_value() || !target_.vector->exists || target_.model_column_missing) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(PrepareStatements());
    absl::Status planned = NameColumns(PlanStatement());
    if (planned.ok() || absl::IsUnavailable(planned) || absl::IsPermissionDenied(planned)) return planned;
    return absl::FailedPreconditionError(
        absl::StrCat(planned.message(), "; the table `", target_.table->name, "` cannot be filled as it is"));
  }

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    bool added = false;
    ABSL_RETURN_IF_ERROR(NameColumns(target_.connection->Persist([&]() -> absl::Status {
      // Looked at again: the application may have changed its tables since the sink was made.
      ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(&target_));
      if (!target_.table.has_value()) {
        added = true;
        return absl::OkStatus();
      }
      if (context.undo != nullptr) {
        ABSL_RETURN_IF_ERROR(LogPostgresChanges(target_, context.undo));
      }
      ABSL_RETURN_IF_ERROR(AddPostgresColumns(&target_, &added));
      return SwapIfEmpty();
    })));
    return added;
  }

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    undo_ = context.undo;
    ABSL_RETURN_IF_ERROR(NameColumns(target_.connection->Persist([&]() -> absl::Status {
      ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(&target_));
      // It is made when the kind of its keys is known.
      if (!target_.table.has_value()) return absl::OkStatus();
      if (!target_.vector->exists) {
        return NotPreparedError(target_.Place(), absl::StrCat("column `", target_.vector->name, "`"));
      }
      if (target_.model_column_missing) {
        return NotPreparedError(target_.Place(), absl::StrCat("column `", target_.asked.model_column, "`"));
      }
      return PrepareStatements();
    })));
    return target_.table.has_value() ? last.position : 0;
  }

  absl::Status NameRows(absl::Span<RowToWrite> rows) override {
    if (!target_.table.has_value()) {
      ABSL_RETURN_IF_ERROR(MakeTable(std::holds_alternative<int64_t>(rows.front().row->key)));
    }
    for (RowToWrite& row : rows) {
      row.key = PostgresKeyText(*target_.table, row.row->key);
      if (!row.key.has_value()) row.SetGone(absl::StrCat("its key cannot be in the column `", target_.table->key, "`"));
    }
    return absl::OkStatus();
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    // What was made since Begin() holds nothing that is worth keeping.
    if (!made_) {
      ABSL_RETURN_IF_ERROR(LogPostgresRows(filled_, rows, &target_, undo_));
    }
    ABSL_RETURN_IF_ERROR(DropIndexesOnce());
    looked_again_ = false;
    return NameColumns(StoreAll(rows));
  }

  absl::Status Publish(const SinkContext&) override {
    return NameColumns(target_.connection->Persist([&]() -> absl::Status {
      ABSL_RETURN_IF_ERROR(ResolvePostgresTarget(&target_));
      return IndexAndSwap();
    }));
  }

 private:
  // Fails where the statement does whatever its rows are: for rights, types, or what the table is.
  absl::Status PlanStatement() {
    const std::vector<PostgresValue> nulls(target_.asked.model_column.empty() ? 2 : 3);
    return target_.connection->Query("EXPLAIN " + store_, nulls).status();
  }

  // What the server says where somebody has made, renamed or dropped a column between a look at the table and a
  // statement: another job, before the lock of the column was had.
  absl::Status NameColumns(const absl::Status& status) const {
    const std::string& code = target_.connection->last_code();
    const std::string& filled = target_.asked.new_column;
    if (status.ok() || filled.empty() || (code != kDuplicateColumn && code != kUndefinedColumn)) return status;
    return absl::UnavailableError(absl::StrCat(
        status.message(), "; the columns are not those that this job has found: expected ",
        code == kDuplicateColumn ? absl::StrCat("no column `", filled, "`, and somebody has made it meanwhile")
                                 : absl::StrCat("the column `", filled, "`, and somebody has renamed or dropped it"),
        " (probably another job with new_column=); when that has ended, run the same command again: it resumes with "
        "the columns that it finds, or says why it cannot"));
  }

  bool Upserts() const { return target_.asked.mode == PostgresLocation::Mode::kUpsert; }

  bool MustSwap() const {
    return !target_.asked.new_column.empty() && !IsPostgresSwapped(*target_.table, target_.asked);
  }

  absl::Status IndexAndSwap() {
    ABSL_RETURN_IF_ERROR(BuildPostgresIndexes(target_));
    if (!MustSwap()) return absl::OkStatus();
    return target_.connection->Run(PostgresSwapSql(*target_.table, target_.asked));
  }

  // A job without rows never comes to Publish(), and a table without rows has all its vectors.
  absl::Status SwapIfEmpty() {
    if (!MustSwap()) return absl::OkStatus();
    const absl::StatusOr<PostgresRows> any =
        target_.connection->Query(absl::StrCat("SELECT 1 FROM ", target_.table->Sql(), " LIMIT 1"));
    if (!any.ok() || any->size() > 0) return any.status();
    ABSL_RETURN_IF_ERROR(IndexAndSwap());
    return ResolvePostgresTarget(&target_);
  }

  absl::Status PrepareStatements() {
    const PostgresTable& table = *target_.table;
    const PostgresVectorColumn& vector = *target_.vector;
    ABSL_ASSIGN_OR_RETURN(const PostgresRows oid, target_.connection->Query("SELECT $1::regtype::oid",
                                                                            {PostgresValue::Text(vector.wire_type)}));
    vector_oid_ = static_cast<int32_t>(oid.Int(0, 0));
    ABSL_ASSIGN_OR_RETURN(filled_, FindPostgresFilled(target_));
    const PostgresTable::Column& key = *table.Find(table.key);
    const std::string key_sql = table.KeyOfSql("s.k");
    const std::string keys = table.KeysSql();
    const std::string rows =
        absl::StrCat(" FROM unnest(", keys, ", $2::", vector.wire_type, "[]) WITH ORDINALITY AS s(k, v, n)");
    const std::string column = QuotePostgresName(vector.name);
    const std::string model = target_.asked.model_column.empty() ? "" : QuotePostgresName(target_.asked.model_column);
    if (Upserts()) {
      store_ = absl::StrCat("INSERT INTO ", table.Sql(), " (", table.KeySql(), ", ", column,
                            model.empty() ? "" : ", " + model, ") SELECT ", key_sql, ", s.v", vector.cast,
                            model.empty() ? "" : ", $3", rows, " ON CONFLICT (", table.KeySql(), ") DO UPDATE SET ",
                            column, " = excluded.", column, model.empty() ? "" : absl::StrCat(", ", model, " = $3"));
    } else {
      store_ = absl::StrCat("UPDATE ", table.Sql(), " AS t SET ", column, " = s.v", vector.cast,
                            model.empty() ? "" : absl::StrCat(", ", model, " = $3"), rows, " WHERE t.", table.KeySql(),
                            " = ", key_sql, " RETURNING s.n");
    }
    const std::string find =
        absl::StrCat("SELECT s.n FROM unnest(", keys, ") WITH ORDINALITY AS s(k, n) WHERE EXISTS (SELECT 1 FROM ",
                     table.Sql(), " AS t WHERE t.", table.KeySql(), " = ", key_sql);
    find_ = find + ")";
    find_filled_ = absl::StrCat(find, " AND t.", column, " IS NOT NULL)");
    // COPY takes the binary form of exactly the column's type. It says nothing of rows that a trigger drops, and goes
    // with no row-level security.
    copy_ = Upserts() && (key.base_type == "int8" || key.base_type == "text" || key.base_type == "varchar") &&
            vector.base_type != "jsonb";
    if (copy_) {
      ABSL_ASSIGN_OR_RETURN(
          const PostgresRows plain,
          target_.connection->Query(
              "SELECT NOT pg_catalog.row_security_active($1::regclass::oid) AND NOT EXISTS (SELECT 1 FROM "
              "pg_catalog.pg_trigger WHERE tgrelid = $1::regclass AND NOT tgisinternal AND tgtype & 7 = 7)",
              {PostgresValue::Text(table.Sql())}));
      copy_ = plain.Bool(0, 0);
    }
    copy_sql_ = absl::StrCat("COPY ", table.Sql(), " (", table.KeySql(), ", ", column,
                             model.empty() ? "" : ", " + model, ") FROM STDIN (FORMAT BINARY)");
    return absl::OkStatus();
  }

  // Not before there is something to write: a run with nothing to do leaves them.
  absl::Status DropIndexesOnce() {
    if (target_.asked.index != "rebuild" || indexes_dropped_) return absl::OkStatus();
    absl::Status dropped = target_.connection->Persist([&] { return DropPostgresIndexes(target_); });
    indexes_dropped_ = dropped.ok();
    return dropped;
  }

  absl::Status MakeTable(bool integer_key) {
    made_ = true;
    if (undo_ != nullptr) {
      ABSL_RETURN_IF_ERROR(LogPostgresTableMade(undo_));
    }
    return target_.connection->Persist([&]() -> absl::Status {
      ABSL_RETURN_IF_ERROR(MakePostgresTable(&target_, integer_key));
      return PrepareStatements();
    });
  }

  // Stores all rows but those that the table refuses, which get their refusal.
  // Errors: what has nothing to do with single rows.
  absl::Status StoreAll(absl::Span<RowToWrite* const> rows) {
    std::vector<RowToWrite*> rest;
    if (copy_) {
      absl::Status copied = CopyRows(rows);
      if (copied.ok()) return copied;
      const std::string& code = target_.connection->last_code();
      const PostgresRefusal refusal = PostgresRefusalOf(code);
      if (refusal == PostgresRefusal::kNo) return copied;
      // After a crash the first rows are there already; a table that is full of them is no case for COPY. Nor is one
      // with row-level security.
      if (code == kUniqueViolation && ++copy_conflicts_ >= kMaxCopyConflicts) copy_ = false;
      if (refusal == PostgresRefusal::kMaybe) copy_ = false;
      // Some of them may have got a refusal before the server refused the rest.
      std::copy_if(rows.begin(), rows.end(), std::back_inserter(rest),
                   [](const RowToWrite* row) { return row->refusal.ok(); });
      rows = rest;
    }
    const size_t rows_per_statement = static_cast<size_t>(std::clamp<int64_t>(
        kStatementBytes / (int64_t{target_.model.dim} * int64_t{sizeof(float)} + 64), 1, kMaxStatementRows));
    for (size_t begin = 0; begin < rows.size(); begin += rows_per_statement) {
      ABSL_RETURN_IF_ERROR(StoreRows(rows.subspan(begin, rows_per_statement)));
    }
    return absl::OkStatus();
  }

  absl::Status StoreRows(absl::Span<RowToWrite* const> rows) {
    if (rows.empty()) return absl::OkStatus();
    EncodeArrays(rows);
    absl::Status status = Upserts() ? Insert() : Update();
    const PostgresRefusal refusal =
        status.ok() ? PostgresRefusal::kNo : PostgresRefusalOf(target_.connection->last_code());
    if (refusal == PostgresRefusal::kNo) return status;
    if (refusal == PostgresRefusal::kMaybe && !PlanStatement().ok()) return status;
    if (rows.size() == 1) {
      ABSL_RETURN_IF_ERROR(LookAgainOnce());
      if (rows[0]->refusal.ok()) rows[0]->Refuse(status.message());
      return absl::OkStatus();
    }
    // Each statement is a transaction, so nothing of this one is stored. Halving finds the rows that are to blame.
    const size_t half = rows.size() / 2;
    ABSL_RETURN_IF_ERROR(StoreRows(rows.subspan(0, half)));
    return StoreRows(rows.subspan(half));
  }

  // Before a row is blamed: somebody may have given the column another type since Begin(), which is no row's fault.
  absl::Status LookAgainOnce() {
    if (looked_again_) return absl::OkStatus();
    looked_again_ = true;
    return target_.connection->Persist([&] { return ResolvePostgresTarget(&target_); });
  }

  // keys_, vectors_ and sent_ of the rows whose vector the column can hold; the others get their refusal.
  void EncodeArrays(absl::Span<RowToWrite* const> rows) {
    sent_.clear();
    keys_.assign(kPostgresArrayHeadBytes, '\0');
    vectors_.assign(kPostgresArrayHeadBytes, '\0');
    for (RowToWrite* const row : rows) {
      if (!AppendVector(row, &vectors_)) continue;
      AppendPostgresKey(*target_.table, *row->key, &keys_);
      sent_.push_back(row);
    }
    keys_.replace(0, kPostgresArrayHeadBytes, PostgresKeyArrayHead(*target_.table, sent_.size()));
    vectors_.replace(0, kPostgresArrayHeadBytes, PostgresArrayHead(vector_oid_, sent_.size()));
  }

  bool AppendVector(RowToWrite* row, std::string* out) const {
    const absl::Span<const float> vector(row->row->vector, static_cast<size_t>(target_.model.dim));
    if (AppendPostgresVector(target_.vector->form, vector, out)) return true;
    row->Refuse("its vector has a number beyond 65504, the limit of halfvec; use a column of type vector");
    return false;
  }

  std::vector<PostgresValue> Values() const {
    std::vector<PostgresValue> values = {PostgresValue::Binary(keys_), PostgresValue::Binary(vectors_)};
    if (!target_.asked.model_column.empty()) values.push_back(PostgresValue::Text(target_.model.name));
    return values;
  }

  absl::Status Insert() {
    int64_t changed = 0;
    absl::Status status = target_.connection->Persist([&] {
      const absl::StatusOr<PostgresRows> rows = target_.connection->Query(store_, Values());
      if (rows.ok()) changed = rows->ChangedRows();
      return rows.status();
    });
    if (!status.ok() || changed == static_cast<int64_t>(sent_.size())) return status;
    return RefuseIgnored(sent_);
  }

  // Of rows that were sent and that a trigger or policy may have dropped in silence, or sent elsewhere.
  absl::Status RefuseIgnored(absl::Span<RowToWrite* const> rows) {
    std::string keys = PostgresKeyArrayHead(*target_.table, rows.size());
    for (const RowToWrite* const row : rows) AppendPostgresKey(*target_.table, *row->key, &keys);
    std::vector<bool> there(rows.size());
    absl::Status status = target_.connection->Persist([&] {
      const absl::StatusOr<PostgresRows> found = target_.connection->Query(find_filled_, {PostgresValue::Binary(keys)});
      for (int row = 0; found.ok() && row < found->size(); ++row) {
        there[static_cast<size_t>(found->Int(row, 0) - 1)] = true;
      }
      return found.status();
    });
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!there[i] && status.ok()) rows[i]->Refuse(kIgnored);
    }
    return status;
  }

  absl::Status Update() {
    std::vector<bool> stored(sent_.size());
    ABSL_RETURN_IF_ERROR(target_.connection->Persist([&] {
      const absl::StatusOr<PostgresRows> rows = target_.connection->Query(store_, Values());
      for (int row = 0; rows.ok() && row < rows->size(); ++row)
        stored[static_cast<size_t>(rows->Int(row, 0) - 1)] = true;
      return rows.status();
    }));
    std::vector<RowToWrite*> missing;
    for (size_t i = 0; i < stored.size(); ++i) {
      if (!stored[i]) missing.push_back(sent_[i]);
    }
    return missing.empty() ? absl::OkStatus() : ExplainMissing(missing);
  }

  // Why rows were not updated, although nothing failed.
  absl::Status ExplainMissing(absl::Span<RowToWrite* const> rows) {
    std::string keys = PostgresKeyArrayHead(*target_.table, rows.size());
    for (RowToWrite* const row : rows) {
      AppendPostgresKey(*target_.table, *row->key, &keys);
      row->SetGone();
    }
    return target_.connection->Persist([&] {
      const absl::StatusOr<PostgresRows> there = target_.connection->Query(find_, {PostgresValue::Binary(keys)});
      for (int row = 0; there.ok() && row < there->size(); ++row) {
        rows[static_cast<size_t>(there->Int(row, 0) - 1)]->Refuse(kIgnored);
      }
      return there.status();
    });
  }

  absl::Status CopyRows(absl::Span<RowToWrite* const> rows) {
    static constexpr absl::string_view kHead("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
    const std::string& model = target_.model.name;
    const char columns = target_.asked.model_column.empty() ? 2 : 3;
    return target_.connection->Persist([&] {
      size_t next = 0;
      bool begun = false, ended = false;
      return target_.connection->CopyIn(copy_sql_, [&](std::string* piece) {
        if (ended) return false;
        if (!begun) piece->append(kHead.data(), kHead.size());
        begun = true;
        for (; next < rows.size() && piece->size() < kCopyPieceBytes; ++next) {
          const size_t begin = piece->size();
          piece->append({'\0', columns});
          AppendPostgresKey(*target_.table, *rows[next]->key, piece);
          if (!AppendVector(rows[next], piece)) {
            piece->resize(begin);
            continue;
          }
          if (columns == 2) continue;
          AppendInt32(static_cast<int32_t>(model.size()), piece);
          piece->append(model);
        }
        ended = next == rows.size();
        if (ended) piece->append("\377\377");
        return true;
      });
    });
  }

  PostgresTarget target_;
  UndoLog* undo_ = nullptr;
  PostgresFilled filled_;
  bool made_ = false;  // the table, since Begin()
  bool indexes_dropped_ = false;
  bool looked_again_ = false;  // in this Write()
  int32_t vector_oid_ = 0;
  std::string store_, find_, find_filled_, copy_sql_;
  bool copy_ = false;  // rows are new, as far as is known
  int copy_conflicts_ = 0;
  // Of one statement: arrays in binary form, and the rows in them.
  std::string keys_, vectors_;
  std::vector<RowToWrite*> sent_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakePostgresSink(const Location& location, const Model& model,
                                                             const PostgresSinkOptions& options) {
  if (model.dim <= 0) return absl::InternalError("a model without a width");
  ABSL_ASSIGN_OR_RETURN(PostgresTarget target, OpenPostgresTarget(location, model, options.patience));
  const std::string place = target.Place();
  auto writer = std::make_unique<PostgresRowWriter>(std::move(target));
  ABSL_RETURN_IF_ERROR(writer->Rehearse());
  return MakeTableSink(place, model.dim, std::move(writer));
}

absl::StatusOr<std::vector<std::string>> PostgresChanges(const Location& location, const Model& model) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTarget target, OpenPostgresTarget(location, model, absl::ZeroDuration()));
  const PostgresLocation& asked = target.asked;
  if (!target.table.has_value()) return std::vector<std::string>{absl::StrCat("makes the table ", asked.table)};
  std::vector<std::string> changes;
  const std::string& table = target.table->name;
  if (!target.vector->exists) {
    changes.push_back(absl::StrCat("adds the column ", target.vector->name, " ", target.vector->type, " to ", table));
  }
  if (target.model_column_missing) {
    changes.push_back(absl::StrCat("adds the column ", asked.model_column, " text to ", table));
  }
  if (asked.index != "none" && asked.index != "rebuild") {
    changes.push_back(absl::StrCat("builds an index (", asked.index, ") of ", table));
  }
  if (!asked.new_column.empty() && !IsPostgresSwapped(*target.table, asked)) {
    changes.push_back(absl::StrCat("renames ", asked.vector, " to ", asked.vector, "_old and ", asked.new_column,
                                   " to ", asked.vector, " at the end; indexes and views follow the old column"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> indexes, PostgresVectorIndexes(target));
  for (const std::string& index : indexes) {
    changes.push_back(asked.index == "rebuild"
                          ? absl::StrCat("drops the index ", index, ", and builds it again at the end")
                          : absl::StrCat("keeps the index ", index,
                                         " up to date with every row, which is slow; index=rebuild drops it first and "
                                         "builds it again at the end"));
  }
  // What is enabled for replicas fires whatever triggers= says.
  ABSL_ASSIGN_OR_RETURN(
      const PostgresRows triggers,
      target.connection->Query("SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = $1::regclass AND NOT "
                               "tgisinternal AND tgtype & 16 <> 0 "
                               "AND tgenabled IN ('A', CASE pg_catalog.current_setting('session_replication_role') "
                               "WHEN 'replica' THEN 'R' ELSE "
                               "'O' END) ORDER BY 1",
                               {PostgresValue::Text(target.table->Sql())}));
  for (int row = 0; row < triggers.size(); ++row) {
    changes.push_back(absl::StrCat("fires the trigger ", triggers.Text(row, 0), " of ", table,
                                   " for every row (triggers=skip keeps it out, for a superuser or who may SET "
                                   "session_replication_role)"));
  }
  return changes;
}

}  // namespace reembed
