#include "io/store/sqlite_vec_width.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/counted.h"
#include "io/store/sqlite_undo.h"
#include "io/store/sqlite_vec.h"

namespace reembed {
namespace {

// Its value: the name of the table beside, and the statement that made the old one.
constexpr absl::string_view kNote = "vec0 width";
constexpr char kKept[] = "temp.reembed_kept";
constexpr char kOld[] = "temp.reembed_old";
constexpr char kBesideKey[] = "key";
constexpr char kBesideModel[] = "model";
constexpr size_t kPageRows = 512;

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
  absl::StatusOr<SqliteStatement> find = db.Prepare("SELECT name FROM pragma_table_info(?1)");
  if (!find.ok()) return find.status();
  find->BindText(1, name);
  std::vector<std::string> columns;
  absl::StatusOr<bool> row = find->Step();
  for (; row.ok() && *row; row = find->Step()) columns.emplace_back(find->Text(0));
  if (!row.ok()) return row.status();
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
    if (absl::Status status = db.Exec(sql); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// What a job leaves as it is in a row: all but the key and the columns that are filled.
absl::StatusOr<std::vector<std::string>> OtherColumns(const SqliteDb& db, const SqliteTarget& target) {
  absl::StatusOr<SqliteStatement> find = db.Prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0");
  if (!find.ok()) return find.status();
  find->BindText(1, target.table->name);
  const std::vector<std::string> filled = FilledColumns(target);
  std::vector<std::string> others;
  absl::StatusOr<bool> row = find->Step();
  for (; row.ok() && *row; row = find->Step()) {
    std::string name(find->Text(0));
    if (name != target.table->key && std::find(filled.begin(), filled.end(), name) == filled.end()) {
      others.push_back(std::move(name));
    }
  }
  if (!row.ok()) return row.status();
  return others;
}

// The bytes of a vector as vec0 wants them: without a word they are taken for float32.
std::string CellSql(absl::string_view create, const std::string& column) {
  const std::string type = Vec0Type(create, column);
  const std::string cell = absl::StrCat("kept.", QuoteName(column));
  if (absl::StartsWith(type, "int8[")) return absl::StrCat("vec_int8(", cell, ")");
  if (absl::StartsWith(type, "bit[")) return absl::StrCat("vec_bit(", cell, ")");
  return cell;
}

// Makes the table anew by `create`, in a transaction of the caller's: its rows that are in `filled`, a table with
// columns for the key and for what is filled, with the cells from there.
absl::Status Remake(const SqliteDb& db, const SqliteTarget& target, const std::string& create,
                    const std::string& filled) {
  const absl::StatusOr<std::vector<std::string>> others = OtherColumns(db, target);
  if (!others.ok()) return others.status();
  const std::string table = QuoteName(target.table->name), key = QuoteName(target.table->key);
  std::vector<std::string> kept, names = {key}, cells = {"kept.reembed_key"};
  for (const std::string& column : *others) {
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

class Vec0WidthSink final : public VectorSink {
 public:
  Vec0WidthSink(const Location& location, SqliteTarget target, std::unique_ptr<SqliteDb> db, const Model& model,
                const SqliteSinkOptions& options)
      : location_(location),
        target_(std::move(target)),
        db_(std::move(db)),
        model_(model),
        options_(options),
        beside_(TableBeside(target_, model.dim)) {}

  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override {
    undo_ = context.undo;
    const absl::StatusOr<std::string> sql = Vec0Sql(*db_, target_);
    if (!sql.ok()) return sql.status();
    if (absl::Status ours = TakeOver(); !ours.ok()) return ours;
    if (undo_ != nullptr) {
      const absl::Status kept = undo_->KeepNote(kNote, absl::StrCat(beside_, "\n", *sql));
      if (!kept.ok()) return kept;
    }
    absl::StatusOr<std::unique_ptr<VectorSink>> sink = MakeSqliteSink(BesideOf(location_, beside_), model_, options_);
    if (!sink.ok()) return sink.status();
    new_vectors_ = *std::move(sink);
    return new_vectors_->Open({.model = context.model}, last);
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    std::vector<const BatchRow*> rows;
    std::vector<KeyView> keys;
    for (const Batch* const batch : batches) {
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        rows.push_back(&row);
        keys.push_back(row.key);
      }
    }
    if (absl::Status looked = RefuseThoseWithoutAPlace(rows, keys, refused); !looked.ok()) return looked;
    if (undo_ != nullptr) {
      if (absl::Status kept = KeepOldCells(rows, target_, &cells_, undo_); !kept.ok()) return kept;
    }
    return new_vectors_->Write(batches, refused);
  }

  absl::Status Flush() override { return new_vectors_->Flush(); }

  absl::Status Finish() override {
    if (absl::Status finished = new_vectors_->Finish(); !finished.ok()) return finished;
    new_vectors_.reset();  // its connection may not stand in the way
    return InTransaction(*db_, [&] { return PutInPlace(); });
  }

 private:
  // What lies under the name of the table beside is of this sink's kind, and of no other model: one of another job's is
  // taken away, as that job writes it again from the vectors it keeps.
  absl::Status TakeOver() {
    if (absl::Status free = CheckNameIsFree(*db_, target_, beside_); !free.ok()) return free;
    const absl::StatusOr<bool> there = HasSqliteTable(*db_, beside_);
    if (!there.ok() || !*there) return there.status();
    absl::StatusOr<SqliteStatement> find = db_->Prepare(absl::StrCat(
        "SELECT 1 FROM ", QuoteName(beside_), " WHERE ", QuoteName(ModelColumnBeside(target_)), " IS NOT ?1 LIMIT 1"));
    if (!find.ok()) return find.status();
    find->BindText(1, model_.name);
    const absl::StatusOr<bool> another = find->Step();
    if (!another.ok() || !*another) return another.status();
    find->Reset();
    return db_->Exec(absl::StrCat("DROP TABLE ", QuoteName(beside_)));
  }

  // SQL: the vectors beside that are of the model ?1.
  std::string OursSql(absl::string_view columns) const {
    return absl::StrCat("SELECT ", columns, " FROM ", QuoteName(beside_), " WHERE ",
                        QuoteName(ModelColumnBeside(target_)), " = ?1");
  }

  // They are stored beside all the same, and left out when the table is made anew.
  absl::Status RefuseThoseWithoutAPlace(absl::Span<const BatchRow* const> rows, absl::Span<const KeyView> keys,
                                        std::vector<RefusedRow>* refused) {
    const bool adds = target_.asked.mode == SqliteLocation::Mode::kUpsert;
    if (adds && target_.UnknownPartition() == nullptr) return absl::OkStatus();
    cells_.Start(keys);
    while (true) {
      const absl::StatusOr<std::optional<CellReader::Row>> row = cells_.Next();
      if (!row.ok()) return row.status();
      if (!row->has_value()) return absl::OkStatus();
      if ((*row)->content.has_value()) continue;
      const BatchRow& missing = *rows[(*row)->index];
      const std::string where =
          absl::StrCat(target_.asked.path, ": table `", target_.table->name, "`: row ", KeyText(missing.key), ": is ");
      refused->push_back({missing.ordinal, adds ? absl::FailedPreconditionError(absl::StrCat(
                                                      where, "not there, and nothing says in which partition `",
                                                      *target_.UnknownPartition(), "` to add it; add &set.",
                                                      *target_.UnknownPartition(), "=SQL, where ?1 is its key"))
                                                : absl::NotFoundError(absl::StrCat(where, "gone from the target"))});
    }
  }

  absl::Status PutInPlace() {
    // The application may have changed its table meanwhile.
    if (absl::Status found = ResolveSqliteTarget(*db_, &target_); !found.ok()) return found;
    const absl::StatusOr<std::string> sql = Vec0Sql(*db_, target_);
    if (!sql.ok()) return sql.status();
    if (absl::Status complete = CheckEveryRowHasOne(); !complete.ok()) return complete;
    const std::string create = WithVec0Width(*sql, target_.asked.vector, model_.dim);
    if (absl::Status made = Remake(*db_, target_, create, QuoteName(beside_)); !made.ok()) return made;
    if (target_.asked.mode == SqliteLocation::Mode::kUpsert && target_.UnknownPartition() == nullptr) {
      if (absl::Status added = AddNewRows(); !added.ok()) return added;
    }
    return ExecAll(*db_, {absl::StrCat("DROP TABLE ", QuoteName(beside_)), absl::StrCat("DROP TABLE ", kKept)});
  }

  absl::Status CheckEveryRowHasOne() {
    const std::string key = QuoteName(target_.table->key);
    absl::StatusOr<SqliteStatement> find =
        db_->Prepare(absl::StrCat("SELECT count(*), min(", key, ") FROM ", QuoteName(target_.table->name), " WHERE ",
                                  key, " NOT IN (", OursSql(QuoteName(kBesideKey)), ")"));
    if (!find.ok()) return find.status();
    find->BindText(1, model_.name);
    const absl::StatusOr<bool> row = find->Step();
    if (!row.ok()) return row.status();
    const int64_t without = find->Int(0);
    if (without == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        target_.asked.path, ": table `", target_.table->name, "`: ", Counted(without, "row has", "rows have"),
        " no vector of ", model_.dim, " numbers of this model, the first is ", find->Text(1),
        ", and a vec0 table holds one width: it stays as it is, and the new vectors wait in `", beside_,
        "`; embed those rows, too (without where=, or by `reembed retry-rejects`), or remove them, then run the same "
        "command again"));
  }

  absl::Status AddNewRows() {
    absl::StatusOr<SqliteStatement> find =
        db_->Prepare(absl::StrCat(OursSql(absl::StrCat(QuoteName(kBesideKey), ", ", QuoteName(target_.asked.vector))),
                                  " AND ", QuoteName(kBesideKey), " NOT IN (SELECT reembed_key FROM ", kKept, ")"));
    if (!find.ok()) return find.status();
    find->BindText(1, model_.name);
    absl::StatusOr<SqliteStatement> insert = db_->Prepare(InsertSql(target_));
    if (!insert.ok()) return insert.status();
    if (!target_.asked.model_column.empty()) insert->BindText(3, model_.name);
    if (!target_.asked.dim_column.empty()) insert->Bind(4, model_.dim);
    absl::StatusOr<bool> row = find->Step();
    for (; row.ok() && *row; row = find->Step()) {
      insert->BindValue(1, find->Value(0));
      insert->BindBlob(2, find->Blob(1));
      if (absl::Status added = insert->Run(); !added.ok()) return added;
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
  std::unique_ptr<VectorSink> new_vectors_;
  UndoLog* undo_ = nullptr;
};

class Vec0WidthRollback {
 public:
  Vec0WidthRollback(const SqliteDb& db, const SqliteTarget& target, UndoReader* old_rows)
      : db_(db), target_(target), old_rows_(old_rows), cells_(&db, &target_) {}

  absl::StatusOr<RollbackReport> Run(const std::string& beside, const std::string& create) {
    const absl::StatusOr<std::string> now = Vec0Sql(db_, target_);
    if (!now.ok()) return now.status();
    const absl::StatusOr<bool> waits = IsTableBeside(db_, target_, beside);
    if (!waits.ok()) return waits.status();
    if (*waits) {
      if (absl::Status gone = db_.Exec(absl::StrCat("DROP TABLE ", QuoteName(beside))); !gone.ok()) return gone;
      report_.notes.push_back(absl::StrCat("took away the table ", beside, ", which the job had made"));
    }
    if (*now == create) return CountAll();
    bool all_ours = false;
    const absl::Status done = InTransaction(db_, [&]() -> absl::Status {
      if (absl::Status found = FindOldCells(&all_ours); !found.ok() || !all_ours) return found;
      absl::Status made = Remake(db_, target_, create, kOld);
      return made.ok() ? ExecAll(db_, {absl::StrCat("DROP TABLE ", kKept)}) : made;
    });
    if (!done.ok()) return done;
    if (all_ours) return report_;
    report_.rows_restored = 0;
    report_.notes.push_back(absl::StrCat("table ", target_.table->name, " stays with its new width: it holds vectors ",
                                         "that the job has not written"));
    return report_;
  }

 private:
  absl::StatusOr<RollbackReport> CountAll() {
    while (true) {
      const absl::StatusOr<std::optional<OldRow>> row = old_rows_->Next();
      if (!row.ok()) return row.status();
      if (!row->has_value()) return report_;
      ++report_.rows_unchanged;
    }
  }

  // Fills kOld with what rows held whose vector is the job's; others are left, in the report.
  absl::Status FindOldCells(bool* all_ours) {
    std::string columns = QuoteName(kBesideKey);
    std::string values = "?1";
    int parameters = 1;
    for (const std::string& column : FilledColumns(target_)) {
      absl::StrAppend(&columns, ", ", QuoteName(column));
      absl::StrAppend(&values, ", ?", ++parameters);
    }
    const absl::Status made = ExecAll(
        db_, {absl::StrCat("DROP TABLE IF EXISTS ", kOld), absl::StrCat("CREATE TABLE ", kOld, " (", columns, ")"),
              absl::StrCat("CREATE UNIQUE INDEX temp.reembed_old_key ON reembed_old (", QuoteName(kBesideKey), ")")});
    if (!made.ok()) return made;
    absl::StatusOr<SqliteStatement> insert =
        db_.Prepare(absl::StrCat("INSERT INTO ", kOld, " (", columns, ") VALUES (", values, ")"));
    if (!insert.ok()) return insert.status();
    while (true) {
      if (absl::Status loaded = LoadPage(); !loaded.ok()) return loaded;
      if (page_.empty()) break;
      if (absl::Status taken = TakePage(&*insert); !taken.ok()) return taken;
    }
    absl::StatusOr<SqliteStatement> count =
        db_.Prepare(absl::StrCat("SELECT count(*) FROM ", QuoteName(target_.table->name)));
    if (!count.ok()) return count.status();
    if (const absl::StatusOr<bool> row = count->Step(); !row.ok()) return row.status();
    const int64_t unknown = count->Int(0) - report_.rows_restored - report_.rows_left;
    report_.rows_left += unknown;  // added by somebody since
    *all_ours = report_.rows_left == 0;
    return absl::OkStatus();
  }

  struct Logged {
    int64_t ordinal = 0;
    Key key;
    std::optional<std::string> content;
  };

  absl::Status LoadPage() {
    page_.clear();
    while (page_.size() < kPageRows) {
      const absl::StatusOr<std::optional<OldRow>> row = old_rows_->Next();
      if (!row.ok()) return row.status();
      if (!row->has_value()) return absl::OkStatus();
      Logged& logged = page_.emplace_back(Logged{(*row)->ordinal, Own((*row)->key), std::nullopt});
      if ((*row)->content.has_value()) logged.content = std::string(*(*row)->content);
    }
    return absl::OkStatus();
  }

  absl::Status TakePage(SqliteStatement* insert) {
    std::vector<KeyView> keys;
    for (const Logged& row : page_) keys.push_back(ViewOf(row.key));
    cells_.Start(keys);
    while (true) {
      const absl::StatusOr<std::optional<CellReader::Row>> now = cells_.Next();
      if (!now.ok()) return now.status();
      if (!now->has_value()) return absl::OkStatus();
      const Logged& row = page_[(*now)->index];
      if (!(*now)->content.has_value()) {
        ++report_.rows_gone;
        continue;
      }
      const absl::StatusOr<bool> ours =
          HoldsWhatWasWritten(target_, old_rows_, row.ordinal, *(*now)->content, row.content.has_value());
      if (!ours.ok()) return ours.status();
      if (!*ours) {
        report_.Leave(ViewOf(row.key), "its vector is not the one that the job wrote");
        continue;
      }
      ++report_.rows_restored;
      if (!row.content.has_value()) continue;  // the job has added it
      const absl::StatusOr<std::vector<SqliteValue>> cells = ParseCells(*row.content);
      if (!cells.ok()) return cells.status();
      insert->BindKey(1, ViewOf(row.key));
      for (size_t i = 0; i < cells->size(); ++i) insert->BindValue(static_cast<int>(i) + 2, (*cells)[i]);
      if (absl::Status kept = insert->Run(); !kept.ok()) return kept;
    }
  }

  const SqliteDb& db_;
  const SqliteTarget target_;
  UndoReader* const old_rows_;
  CellReader cells_;
  std::vector<Logged> page_;
  RollbackReport report_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeVec0WidthSink(const Location& location, SqliteTarget target,
                                                              std::unique_ptr<SqliteDb> db, const Model& model,
                                                              const SqliteSinkOptions& options) {
  const absl::Status free = CheckNameIsFree(*db, target, TableBeside(target, model.dim));
  if (!free.ok()) return free;
  return std::make_unique<Vec0WidthSink>(location, std::move(target), std::move(db), model, options);
}

absl::StatusOr<std::string> Vec0WidthChange(const SqliteDb& db, const SqliteTarget& target, int old_dim, int dim) {
  const std::string beside = TableBeside(target, dim);
  if (absl::Status free = CheckNameIsFree(db, target, beside); !free.ok()) return free;
  return absl::StrCat("makes the table ", target.table->name, " anew for vectors of ", dim, " numbers (", old_dim,
                      " before) once each row has one; until then they wait in ", beside);
}

absl::StatusOr<std::optional<RollbackReport>> RollBackVec0Width(const SqliteDb& db, const SqliteTarget& target,
                                                                UndoReader* old_rows) {
  const absl::StatusOr<std::optional<std::string>> note = old_rows->FindNote(kNote);
  if (!note.ok()) return note.status();
  if (!note->has_value() || !target.table.has_value()) return std::nullopt;
  const size_t end = (*note)->find('\n');
  absl::StatusOr<RollbackReport> report =
      Vec0WidthRollback(db, target, old_rows).Run((*note)->substr(0, end), (*note)->substr(end + 1));
  if (!report.ok()) return report.status();
  return *std::move(report);
}

}  // namespace reembed
