// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/sqlite_vec_width.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/counted.h"
#include "engine/rollback.h"
#include "engine/status_macros.h"
#include "io/store/sqlite/sqlite_undo.h"
#include "io/store/sqlite/sqlite_vec.h"

namespace reembed {
namespace {

// Its value: the name of the table beside, and the statement that made the old one.
constexpr absl::string_view kNote = "vec0 width";
constexpr char kKept[] = "temp.reembed_kept";
constexpr char kOld[] = "temp.reembed_old";
constexpr char kBesideKey[] = "key";
constexpr char kBesideModel[] = "model";

std::string TableBeside(const SqliteTarget& target, int dim) {
  return absl::StrCat(target.table->name, "__reembed_", dim);
}

// As MakeSqliteSink() makes a new table.
Location BesideOf(const Location& location, const std::string& table) {
  Location beside{.scheme = location.scheme, .path = location.path};
  for (const char* const kept : {"vector", "model_column", "dim_column", "updated_column"}) {
    if (!location.Get(kept).empty()) beside.parameters[kept] = location.Get(kept);
  }
  beside.parameters["table"] = table;
  beside.parameters["key"] = kBesideKey;
  beside.parameters.try_emplace("model_column", kBesideModel);
  beside.parameters["mode"] = "upsert";
  return beside;
}

std::string ModelColumnBeside(const SqliteTarget& target) {
  return target.asked.model_column.empty() ? std::string(kBesideModel) : target.asked.model_column;
}

// Whether there is a table `name` that such a sink may have made; somebody's own stays as it is.
absl::StatusOr<bool> IsTableBeside(const SqliteDb& db, const SqliteTarget& target, const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement find, db.Prepare("SELECT name FROM pragma_table_info(?1)"));
  find.BindText(1, name);
  std::vector<std::string> columns;
  absl::StatusOr<bool> row = find.Step();
  for (; row.ok() && *row; row = find.Step()) columns.emplace_back(find.Text(0));
  ABSL_RETURN_IF_ERROR(row.status());
  const std::vector<std::string> wanted = {kBesideKey, target.asked.vector, ModelColumnBeside(target)};
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& column) {
    return std::find(columns.begin(), columns.end(), column) != columns.end();
  });
}

absl::Status CheckNameIsFree(const SqliteDb& db, const SqliteTarget& target, const std::string& name) {
  const absl::StatusOr<bool> there = HasSqliteTable(db, name);
  if (!there.ok() || !*there) return there.status();
  const absl::StatusOr<bool> ours = IsTableBeside(db, target, name);
  if (!ours.ok() || *ours) return ours.status();
  return absl::FailedPreconditionError(absl::StrCat(target.asked.path, ": there is a table `", name,
                                                    "`, and the new vectors of `", target.table->name,
                                                    "` are to wait in one of that name; rename yours or put it away"));
}

template <typename Change>
absl::Status InTransaction(const SqliteDb& db, const Change& change) {
  absl::Status status = db.Exec("BEGIN IMMEDIATE");
  if (status.ok()) status = change();
  if (status.ok()) status = db.Exec("COMMIT");
  if (!status.ok() && db.InTransaction()) db.Exec("ROLLBACK").IgnoreError();
  return status;
}

absl::Status ExecAll(const SqliteDb& db, const std::vector<std::string>& statements) {
  for (const std::string& sql : statements) {
    ABSL_RETURN_IF_ERROR(db.Exec(sql));
  }
  return absl::OkStatus();
}

// What a job leaves as it is in a row: all but the key and the columns that are filled.
absl::StatusOr<std::vector<std::string>> OtherColumns(const SqliteDb& db, const SqliteTarget& target) {
  ABSL_ASSIGN_OR_RETURN(SqliteStatement find, db.Prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0"));
  find.BindText(1, target.table->name);
  const std::vector<std::string> filled = FilledColumns(target);
  std::vector<std::string> others;
  absl::StatusOr<bool> row = find.Step();
  for (; row.ok() && *row; row = find.Step()) {
    std::string name(find.Text(0));
    if (name != target.table->key && std::find(filled.begin(), filled.end(), name) == filled.end()) {
      others.push_back(std::move(name));
    }
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return others;
}

// The bytes of a vector as vec0 wants them: without a word they are taken for float32.
std::string CellSql(absl::string_view create, const std::string& column) {
  const std::string type = Vec0Type(create, column);
  std::string cell = absl::StrCat("kept.", QuoteName(column));
  if (absl::StartsWith(type, "int8[")) return absl::StrCat("vec_int8(", cell, ")");
  if (absl::StartsWith(type, "bit[")) return absl::StrCat("vec_bit(", cell, ")");
  return cell;
}

// Makes the table anew by `create`, in a transaction of the caller's: its rows that are in `filled`, a table with
// columns for the key and for what is filled, with the cells from there.
absl::Status Remake(const SqliteDb& db, const SqliteTarget& target, const std::string& create,
                    const std::string& filled) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> others, OtherColumns(db, target));
  const std::string table = QuoteName(target.table->name), key = QuoteName(target.table->key);
  std::vector<std::string> kept, names = {key}, cells = {"kept.reembed_key"};
  for (const std::string& column : others) {
    kept.push_back(absl::StrCat(", ", QuoteName(column)));
    names.push_back(QuoteName(column));
    cells.push_back(CellSql(create, column));
  }
  for (const std::string& column : FilledColumns(target)) {
    names.push_back(QuoteName(column));
    cells.push_back(absl::StrCat("filled.", QuoteName(column)));
  }
  return ExecAll(db, {absl::StrCat("DROP TABLE IF EXISTS ", kKept),
                      absl::StrCat("CREATE TEMP TABLE reembed_kept AS SELECT ", key, " AS reembed_key",
                                   absl::StrJoin(kept, ""), " FROM ", table),
                      absl::StrCat("DROP TABLE ", table), create,
                      absl::StrCat("INSERT INTO ", table, " (", absl::StrJoin(names, ", "), ") SELECT ",
                                   absl::StrJoin(cells, ", "), " FROM ", kKept, " AS kept JOIN ", filled,
                                   " AS filled ON filled.", QuoteName(kBesideKey), " = kept.reembed_key")});
}

class Vec0WidthRowWriter final : public RowWriter {
 public:
  Vec0WidthRowWriter(const Location& location, SqliteTarget target, std::unique_ptr<SqliteDb> db, const Model& model,
                     const SqliteSinkOptions& options)
      : location_(location),
        target_(std::move(target)),
        db_(std::move(db)),
        model_(model),
        options_(options),
        beside_(TableBeside(target_, model.dim)) {}

  absl::StatusOr<bool> Prepare(const SinkContext& context) override {
    ABSL_ASSIGN_OR_RETURN(const std::string sql, Vec0Sql(*db_, target_));
    ABSL_RETURN_IF_ERROR(TakeOver());
    if (context.undo != nullptr) {
      ABSL_RETURN_IF_ERROR(context.undo->LogNote(kNote, absl::StrCat(beside_, "\n", sql)));
    }
    ABSL_ASSIGN_OR_RETURN(new_vectors_, MakeSqliteRowWriter(BesideOf(location_, beside_), model_, options_));
    return new_vectors_->Prepare({.model = context.model});
  }

  absl::StatusOr<int64_t> Begin(const SinkContext& context, const SinkPosition& last) override {
    undo_ = context.undo;
    if (new_vectors_ == nullptr) {
      ABSL_ASSIGN_OR_RETURN(new_vectors_, MakeSqliteRowWriter(BesideOf(location_, beside_), model_, options_));
    }
    return new_vectors_->Begin({.model = context.model}, last);
  }

  absl::Status Write(absl::Span<RowToWrite* const> rows) override {
    ABSL_RETURN_IF_ERROR(LogOldCells(rows, target_, &cells_, undo_));
    ABSL_RETURN_IF_ERROR(new_vectors_->Write(rows));
    return RefuseThoseWithoutAPlace(rows);
  }

  absl::Status Flush() override { return new_vectors_->Flush(); }

  absl::Status Complete() override { return new_vectors_->Complete(); }

  absl::Status Publish(const SinkContext&) override {
    new_vectors_.reset();  // its connection may not stand in the way
    return InTransaction(*db_, [&] { return PutInPlace(); });
  }

 private:
  // What lies under the name of the table beside is of this sink's kind, and of no other model: one of another job's is
  // taken away, as that job writes it again from the vectors it keeps.
  absl::Status TakeOver() {
    ABSL_RETURN_IF_ERROR(CheckNameIsFree(*db_, target_, beside_));
    const absl::StatusOr<bool> there = HasSqliteTable(*db_, beside_);
    if (!there.ok() || !*there) return there.status();
    ABSL_ASSIGN_OR_RETURN(SqliteStatement find,
                          db_->Prepare(absl::StrCat("SELECT 1 FROM ", QuoteName(beside_), " WHERE ",
                                                    QuoteName(ModelColumnBeside(target_)), " IS NOT ?1 LIMIT 1")));
    find.BindText(1, model_.name);
    const absl::StatusOr<bool> another = find.Step();
    if (!another.ok() || !*another) return another.status();
    find.Reset();
    return db_->Exec(absl::StrCat("DROP TABLE ", QuoteName(beside_)));
  }

  // SQL: the vectors beside that are of the model ?1.
  std::string OursSql(absl::string_view columns) const {
    return absl::StrCat("SELECT ", columns, " FROM ", QuoteName(beside_), " WHERE ",
                        QuoteName(ModelColumnBeside(target_)), " = ?1");
  }

  // They are stored beside all the same, and left out when the table is made anew.
  absl::Status RefuseThoseWithoutAPlace(absl::Span<RowToWrite* const> rows) {
    const bool adds = target_.asked.mode == SqliteLocation::Mode::kUpsert;
    if (adds && target_.UnknownPartition() == nullptr) return absl::OkStatus();
    std::vector<KeyView> keys;
    for (const RowToWrite* const row : rows) keys.push_back(row->row->key);
    cells_.Start(keys);
    while (true) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<CellReader::Row> row, cells_.Next());
      if (!row.has_value()) return absl::OkStatus();
      if (row->content.has_value()) continue;
      if (adds) {
        rows[row->index]->Refuse(NoPartition(*target_.UnknownPartition()));
      } else {
        rows[row->index]->SetGone();
      }
    }
  }

  absl::Status PutInPlace() {
    // The application may have changed its table meanwhile.
    ABSL_RETURN_IF_ERROR(ResolveSqliteTarget(*db_, &target_));
    ABSL_ASSIGN_OR_RETURN(const std::string sql, Vec0Sql(*db_, target_));
    ABSL_RETURN_IF_ERROR(CheckEveryRowHasOne());
    const std::string create = WithVec0Width(sql, target_.asked.vector, model_.dim);
    ABSL_RETURN_IF_ERROR(Remake(*db_, target_, create, QuoteName(beside_)));
    if (target_.asked.mode == SqliteLocation::Mode::kUpsert && target_.UnknownPartition() == nullptr) {
      ABSL_RETURN_IF_ERROR(AddNewRows());
    }
    return ExecAll(*db_, {absl::StrCat("DROP TABLE ", QuoteName(beside_)), absl::StrCat("DROP TABLE ", kKept)});
  }

  absl::Status CheckEveryRowHasOne() {
    const std::string key = QuoteName(target_.table->key);
    ABSL_ASSIGN_OR_RETURN(
        SqliteStatement find,
        db_->Prepare(absl::StrCat("SELECT count(*), min(", key, ") FROM ", QuoteName(target_.table->name), " WHERE ",
                                  key, " NOT IN (", OursSql(QuoteName(kBesideKey)), ")")));
    find.BindText(1, model_.name);
    ABSL_RETURN_IF_ERROR(find.Step().status());
    const int64_t without = find.Int(0);
    if (without == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        target_.asked.path, ": table `", target_.table->name, "`: ", Counted(without, "row has", "rows have"),
        " no vector of ", model_.dim, " numbers of this model, the first is ", find.Text(1),
        ", and a vec0 table holds one width: it stays as it is, and the new vectors wait in `", beside_,
        "`; embed those rows, too (without where=, or by `reembed retry-rejects`), or remove them, then run the same "
        "command again"));
  }

  absl::Status AddNewRows() {
    ABSL_ASSIGN_OR_RETURN(
        SqliteStatement find,
        db_->Prepare(absl::StrCat(OursSql(absl::StrCat(QuoteName(kBesideKey), ", ", QuoteName(target_.asked.vector))),
                                  " AND ", QuoteName(kBesideKey), " NOT IN (SELECT reembed_key FROM ", kKept, ")")));
    find.BindText(1, model_.name);
    ABSL_ASSIGN_OR_RETURN(SqliteStatement insert, db_->Prepare(InsertSql(target_)));
    if (!target_.asked.model_column.empty()) insert.BindText(3, model_.name);
    if (!target_.asked.dim_column.empty()) insert.Bind(4, model_.dim);
    absl::StatusOr<bool> row = find.Step();
    for (; row.ok() && *row; row = find.Step()) {
      insert.BindValue(1, find.Value(0));
      insert.BindBlob(2, find.Blob(1));
      ABSL_RETURN_IF_ERROR(insert.Run());
    }
    return row.status();
  }

  const Location location_;
  SqliteTarget target_;
  const std::unique_ptr<SqliteDb> db_;
  const Model model_;
  const SqliteSinkOptions options_;
  const std::string beside_;
  CellReader cells_{db_.get(), &target_};
  std::unique_ptr<RowWriter> new_vectors_;
  UndoLog* undo_ = nullptr;
};

// A vec0 table that gets its old width back: all of its rows or none, in one transaction. What rows held is collected
// in kOld first.
class Vec0Rows final : public RowTable {
 public:
  // `create`: SQL of the table as it was. Both are borrowed.
  Vec0Rows(const SqliteDb& db, const SqliteTarget& target, std::string create)
      : db_(db), target_(target), create_(std::move(create)), cells_(&db, &target) {}

  absl::Status Begin() {
    std::string columns = QuoteName(kBesideKey);
    std::string values = "?1";
    int parameters = 1;
    for (const std::string& column : FilledColumns(target_)) {
      absl::StrAppend(&columns, ", ", QuoteName(column));
      absl::StrAppend(&values, ", ?", ++parameters);
    }
    ABSL_RETURN_IF_ERROR(ExecAll(
        db_, {absl::StrCat("DROP TABLE IF EXISTS ", kOld), absl::StrCat("CREATE TABLE ", kOld, " (", columns, ")"),
              absl::StrCat("CREATE UNIQUE INDEX temp.reembed_old_key ON reembed_old (", QuoteName(kBesideKey), ")")}));
    ABSL_ASSIGN_OR_RETURN(insert_,
                          db_.Prepare(absl::StrCat("INSERT INTO ", kOld, " (", columns, ") VALUES (", values, ")")));
    return absl::OkStatus();
  }

  absl::Status Read(absl::Span<const OldRow> rows, absl::Span<RowNow> now) override {
    return ReadCells(&cells_, rows, now);
  }

  absl::StatusOr<std::optional<bool>> Holds(const RowNow& now, absl::Span<const float> written) override {
    return HoldsVector(target_, now.content, written);
  }

  absl::Status Apply(absl::Span<const RowChange> changes, absl::Span<RowOutcome>) override {
    for (const RowChange& change : changes) {
      if (!change.content.has_value()) continue;  // the job has added it
      ABSL_ASSIGN_OR_RETURN(const std::vector<SqliteValue> cells, ParseCells(*change.content));
      insert_.BindKey(1, change.key);
      for (size_t i = 0; i < cells.size(); ++i) insert_.BindValue(static_cast<int>(i) + 2, cells[i]);
      ABSL_RETURN_IF_ERROR(insert_.Run());
    }
    return absl::OkStatus();
  }

  // Gives the table its old width, if all that is in it is the job's; otherwise nothing of the above counts.
  absl::Status TakeAway(UndoReader*, RollbackReport* report) override {
    ABSL_ASSIGN_OR_RETURN(SqliteStatement count,
                          db_.Prepare(absl::StrCat("SELECT count(*) FROM ", QuoteName(target_.table->name))));
    ABSL_RETURN_IF_ERROR(count.Step().status());
    const int64_t known = report->rows_restored + report->rows_unchanged + report->rows_left;
    report->rows_left += count.Int(0) - known;  // added by somebody since
    if (report->rows_left == 0) {
      count = SqliteStatement();  // it would hold the table
      ABSL_RETURN_IF_ERROR(Remake(db_, target_, create_, kOld));
      return ExecAll(db_, {absl::StrCat("DROP TABLE ", kKept)});
    }
    report->rows_restored = 0;
    report->notes.push_back(absl::StrCat("table ", target_.table->name, " stays with its new width: it holds vectors ",
                                         "that the job has not written"));
    return absl::OkStatus();
  }

 private:
  const SqliteDb& db_;
  const SqliteTarget& target_;
  const std::string create_;
  CellReader cells_;
  SqliteStatement insert_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeVec0WidthSink(const Location& location, SqliteTarget target,
                                                              std::unique_ptr<SqliteDb> db, const Model& model,
                                                              const SqliteSinkOptions& options) {
  ABSL_RETURN_IF_ERROR(CheckNameIsFree(*db, target, TableBeside(target, model.dim)));
  const std::string place = target.Place(target.asked.path);
  return MakeTableSink(
      place, model.dim,
      std::make_unique<Vec0WidthRowWriter>(location, std::move(target), std::move(db), model, options));
}

absl::StatusOr<std::string> Vec0WidthChange(const SqliteDb& db, const SqliteTarget& target, int old_dim, int dim) {
  const std::string beside = TableBeside(target, dim);
  ABSL_RETURN_IF_ERROR(CheckNameIsFree(db, target, beside));
  return absl::StrCat("makes the table ", target.table->name, " anew for vectors of ", dim, " numbers (", old_dim,
                      " before) once each row has one; until then they wait in ", beside);
}

absl::StatusOr<std::optional<RollbackReport>> RollBackVec0Width(const SqliteDb& db, const SqliteTarget& target,
                                                                UndoReader* old_rows) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> note, old_rows->FindNote(kNote));
  if (!note.has_value() || !target.table.has_value()) return std::nullopt;
  const size_t end = note->find('\n');
  const std::string beside = note->substr(0, end), create = note->substr(end + 1);
  ABSL_ASSIGN_OR_RETURN(const std::string now, Vec0Sql(db, target));
  ABSL_ASSIGN_OR_RETURN(const bool waits, IsTableBeside(db, target, beside));
  RollbackReport report;
  if (now == create) {
    ABSL_RETURN_IF_ERROR(CountRowsUnchanged(old_rows, &report));
  } else {
    ABSL_RETURN_IF_ERROR(InTransaction(db, [&]() -> absl::Status {
      Vec0Rows rows(db, target, create);
      ABSL_RETURN_IF_ERROR(rows.Begin());
      ABSL_ASSIGN_OR_RETURN(report, RollBackRows(db.path(), &rows, old_rows));
      return absl::OkStatus();
    }));
  }
  if (waits) {
    ABSL_RETURN_IF_ERROR(db.Exec(absl::StrCat("DROP TABLE ", QuoteName(beside))));
    report.notes.push_back(absl::StrCat("took away the table ", beside, ", which the job had made"));
  }
  return report;
}

}  // namespace reembed
