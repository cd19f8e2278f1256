// SPDX-License-Identifier: Apache-2.0
#include "io/job/undo_store.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
#include "engine/place_name.h"
#include "engine/setting.h"
#include "engine/status_macros.h"
#include "io/file/file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reembed {
namespace {

// "RMBU"
constexpr int64_t kApplicationId = 0x524D4255;
// Since 2 rows and notes have sums. A file of format 1 stays one.
constexpr int kUndoFormat = 2;

// Rows are of some 6 KB mostly; in pages of this size a fifth less is written than in small ones, in half the time.
constexpr int kPageBytes = 32768;

// The key's index is apart, since rows are long.
constexpr absl::string_view kSchema = R"sql(
CREATE TABLE targets(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE old_rows(id INTEGER PRIMARY KEY, target INTEGER NOT NULL, ordinal INTEGER NOT NULL, key NOT NULL,
                      content BLOB, sum INTEGER NOT NULL);
CREATE UNIQUE INDEX old_rows_by_key ON old_rows(target, key);
CREATE TABLE notes(target INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, sum INTEGER NOT NULL,
                   PRIMARY KEY(target, name)) WITHOUT ROWID;
)sql";

// The sum of what a row or a note holds: each part with its length, so that none borrows from another.
class Sum {
 public:
  explicit Sum(int64_t target) { Add(target); }
  void Add(int64_t number) {
    for (int i = 0; i < 8; ++i) head_.push_back(static_cast<char>(static_cast<uint64_t>(number) >> 8 * i));
  }
  void Add(absl::string_view bytes) {
    Add(static_cast<int64_t>(bytes.size()));
    // The hash of what may be long, which need not be copied.
    Add(static_cast<int64_t>(XXH3_64bits(bytes.data(), bytes.size())));
  }
  int64_t Value() const { return static_cast<int64_t>(XXH3_64bits(head_.data(), head_.size())); }

 private:
  std::string head_;
};

std::string PathOf(const std::string& dir) { return absl::StrCat(dir, "/undo.db"); }

absl::Status CheckFormat(LedgerConnection* undo) {
  ABSL_ASSIGN_OR_RETURN(const int64_t application, undo->QueryInteger("PRAGMA application_id"));
  ABSL_ASSIGN_OR_RETURN(const int64_t format, undo->QueryInteger("PRAGMA user_version"));
  if (application == kApplicationId && format >= 1 && format <= kUndoFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      undo->path(), ": expected what a run has overwritten, in format ", kUndoFormat, ", got ",
      application == kApplicationId ? absl::StrCat("format ", format, "; use a newer reembed") : "another file"));
}

absl::StatusOr<bool> IsEmpty(LedgerConnection* undo) {
  ABSL_ASSIGN_OR_RETURN(const int64_t tables, undo->QueryInteger("SELECT count(*) FROM sqlite_master"));
  return tables == 0;
}

absl::Status CreateTables(LedgerConnection* undo) {
  // One transaction: a crash leaves either nothing or all of them.
  return undo->Execute(absl::StrCat("BEGIN IMMEDIATE;", kSchema, "PRAGMA application_id = ", kApplicationId,
                                    "; PRAGMA user_version = ", kUndoFormat, "; COMMIT"));
}

}  // namespace

class UndoStore::TargetLog final : public UndoLog {
 public:
  TargetLog(UndoStore* store, absl::string_view target) : store_(store), target_(target) {}

  absl::Status Log(absl::FunctionRef<absl::StatusOr<std::optional<OldRow>>()> next) override {
    return store_->InTransaction(target_, [&](int64_t target) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_->mutex_) {
      while (true) {
        ABSL_ASSIGN_OR_RETURN(const std::optional<OldRow> row, next());
        if (!row.has_value()) return absl::OkStatus();
        LedgerStatement& insert = store_->insert_row_;
        insert.Bind(1, target);
        insert.Bind(2, row->ordinal);
        insert.BindKey(3, row->key);
        if (row->content.has_value()) {
          insert.BindBlob(4, *row->content);
        } else {
          insert.BindNull(4);
        }
        if (store_->has_sums_) insert.Bind(5, UndoRowSum(target, *row));
        ABSL_RETURN_IF_ERROR(insert.Run());
      }
    });
  }

  absl::Status LogNote(absl::string_view name, absl::string_view value) override {
    return store_->InTransaction(target_, [&](int64_t target) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_->mutex_) {
      store_->insert_note_.Bind(1, target);
      store_->insert_note_.BindText(2, name);
      store_->insert_note_.BindText(3, value);
      if (store_->has_sums_) store_->insert_note_.Bind(4, UndoNoteSum(target, name, value));
      return store_->insert_note_.Run();
    });
  }

 private:
  UndoStore* const store_;
  const std::string target_;
};

UndoStore::UndoStore(const std::string& dir) : path_(PathOf(dir)) {}

std::unique_ptr<UndoLog> UndoStore::LogOf(absl::string_view target) {
  return std::make_unique<TargetLog>(this, target);
}

absl::Status UndoStore::OpenOnce() {
  if (file_ != nullptr) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerConnection> file,
                        LedgerConnection::Open(path_, LedgerAccess::kReadWrite, kPageBytes));
  ABSL_ASSIGN_OR_RETURN(const bool empty, IsEmpty(file.get()));
  if (empty) {
    ABSL_RETURN_IF_ERROR(CreateTables(file.get()));
  }
  ABSL_RETURN_IF_ERROR(CheckFormat(file.get()));
  // As many bytes as the ledger gives its log, in larger pages.
  ABSL_RETURN_IF_ERROR(file->Execute("PRAGMA wal_autocheckpoint=1250; PRAGMA cache_size=-8192"));
  ABSL_ASSIGN_OR_RETURN(has_sums_, HasUndoSums(file.get()));
  const std::pair<LedgerStatement*, absl::string_view> statements[] = {
      {&insert_row_,
       has_sums_ ? "INSERT OR IGNORE INTO old_rows(target, ordinal, key, content, sum) VALUES(?1, ?2, ?3, ?4, ?5)"
                 : "INSERT OR IGNORE INTO old_rows(target, ordinal, key, content) VALUES(?1, ?2, ?3, ?4)"},
      {&insert_note_, has_sums_ ? "INSERT OR IGNORE INTO notes VALUES(?1, ?2, ?3, ?4)"
                                : "INSERT OR IGNORE INTO notes VALUES(?1, ?2, ?3)"}};
  for (const auto& [statement, sql] : statements) {
    ABSL_ASSIGN_OR_RETURN(*statement, file->Prepare(sql));
  }
  file_ = std::move(file);
  return absl::OkStatus();
}

// A target that an older version knows by a relative path gets its own name; nullopt: there is none.
absl::StatusOr<std::optional<int64_t>> UndoStore::AdoptTarget(const std::string& name) {
  const absl::StatusOr<Location> place = ParseLocation(name);
  if (!place.ok()) return std::nullopt;
  ABSL_ASSIGN_OR_RETURN(const std::vector<UndoTarget> targets, ReadUndoTargets(file_.get()));
  for (const UndoTarget& target : targets) {
    if (!IsNameOf(target.name, *place)) continue;
    ABSL_ASSIGN_OR_RETURN(LedgerStatement rename, file_->Prepare("UPDATE targets SET name = ?1 WHERE id = ?2"));
    rename.BindText(1, name);
    rename.Bind(2, target.id);
    ABSL_RETURN_IF_ERROR(rename.Run());
    return target.id;
  }
  return std::nullopt;
}

absl::StatusOr<int64_t> UndoStore::TargetId(const std::string& name) {
  ABSL_ASSIGN_OR_RETURN(LedgerStatement find, file_->Prepare("SELECT id FROM targets WHERE name = ?1"));
  find.BindText(1, name);
  absl::StatusOr<bool> row = find.Step();
  ABSL_RETURN_IF_ERROR(row.status());
  if (*row) return find.Integer(0);
  ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> adopted, AdoptTarget(name));
  if (adopted.has_value()) return *adopted;
  ABSL_ASSIGN_OR_RETURN(LedgerStatement insert, file_->Prepare("INSERT INTO targets(name) VALUES(?1) RETURNING id"));
  insert.BindText(1, name);
  row = insert.Step();
  ABSL_RETURN_IF_ERROR(row.status());
  const int64_t id = *row ? insert.Integer(0) : 0;
  insert.Reset();
  return id;
}

// Not analysed: `body` requires this store's mutex, and calls it by another name.
template <typename Body>
absl::Status UndoStore::InTransaction(const std::string& target, Body body) {
  const MutexLock lock(&mutex_);
  ABSL_RETURN_IF_ERROR(OpenOnce());
  absl::Status status = file_->Execute("BEGIN IMMEDIATE");
  ABSL_RETURN_IF_ERROR(status);
  const absl::StatusOr<int64_t> id = TargetId(target);
  status = id.ok() ? body(*id) : id.status();
  KillPoint("undo: before the commit");
  if (status.ok()) status = file_->Execute("COMMIT");
  KillPoint("undo: committed");
  // SQLite may have rolled back by itself; then this fails, and nothing is lost by that.
  if (!status.ok()) file_->Execute("ROLLBACK").IgnoreError();
  if (absl::IsResourceExhausted(status)) {
    return WithSetting(
        absl::ResourceExhaustedError(absl::StrCat(
            status.message(),
            "; a row that is not in the undo log is not overwritten; a run without an undo log needs no space for it")),
        Setting::kUndoLog);
  }
  return status;
}

absl::StatusOr<std::unique_ptr<LedgerConnection>> OpenUndo(const std::string& dir) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<LedgerConnection> undo,
                        LedgerConnection::Open(PathOf(dir), LedgerAccess::kReadOnly));
  ABSL_ASSIGN_OR_RETURN(const bool empty, IsEmpty(undo.get()));
  if (empty) return absl::NotFoundError(absl::StrCat(undo->path(), ": is empty"));
  ABSL_RETURN_IF_ERROR(CheckFormat(undo.get()));
  return undo;
}

absl::StatusOr<std::vector<UndoTarget>> ReadUndoTargets(LedgerConnection* undo) {
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement query,
      undo->Prepare(
          "SELECT id, name, (SELECT count(*) FROM old_rows WHERE target = targets.id) FROM targets ORDER BY id DESC"));
  std::vector<UndoTarget> targets;
  absl::StatusOr<bool> row = query.Step();
  for (; row.ok() && *row; row = query.Step()) {
    targets.push_back({query.Integer(0), std::string(query.Text(1)), query.Integer(2)});
  }
  ABSL_RETURN_IF_ERROR(row.status());
  return targets;
}

int64_t UndoRowSum(int64_t target, const OldRow& row) {
  Sum sum(target);
  sum.Add(row.ordinal);
  if (const auto* const number = std::get_if<int64_t>(&row.key)) {
    sum.Add(*number);
  } else {
    sum.Add(std::get<absl::string_view>(row.key));
  }
  sum.Add(int64_t{row.content.has_value()});
  if (row.content.has_value()) sum.Add(*row.content);
  return sum.Value();
}

int64_t UndoNoteSum(int64_t target, absl::string_view name, absl::string_view value) {
  Sum sum(target);
  sum.Add(name);
  sum.Add(value);
  return sum.Value();
}

absl::StatusOr<bool> HasUndoSums(LedgerConnection* undo) {
  ABSL_ASSIGN_OR_RETURN(const int64_t format, undo->QueryInteger("PRAGMA user_version"));
  return format > 1;
}

absl::StatusOr<UndoCheck> CheckUndo(const std::string& dir) {
  UndoCheck check;
  if (UndoBytes(dir) == 0) return check;
  const absl::StatusOr<std::unique_ptr<LedgerConnection>> undo = OpenUndo(dir);
  if (absl::IsNotFound(undo.status())) return check;
  ABSL_RETURN_IF_ERROR(undo.status());
  ABSL_ASSIGN_OR_RETURN(const bool has_sums, HasUndoSums(undo->get()));
  if (!has_sums) return check;
  const auto damaged = [&](absl::string_view target, absl::string_view what) {
    if (++check.damaged > static_cast<int64_t>(UndoCheck::kMaxShown)) return;
    check.shown.push_back(absl::StrCat((*undo)->path(), ": ", target, ": ", what,
                                       " is damaged; a rollback leaves what it was kept for as it is"));
  };
  // A row of a target that is not there is one whose target is damaged.
  ABSL_ASSIGN_OR_RETURN(
      LedgerStatement rows,
      (*undo)->Prepare("SELECT target, ordinal, key, content, sum, coalesce(name, 'a target that has no name') FROM "
                       "old_rows LEFT JOIN targets t ON t.id = target ORDER BY old_rows.id"));
  absl::StatusOr<bool> found = rows.Step();
  for (; found.ok() && *found; found = rows.Step()) {
    ++check.rows;
    OldRow row = {.ordinal = rows.Integer(1), .key = rows.KeyAt(2)};
    if (!rows.IsNull(3)) row.content = rows.Blob(3);
    if (UndoRowSum(rows.Integer(0), row) == rows.Integer(4)) continue;
    damaged(rows.Text(5), absl::StrCat("what was kept of row ", KeyText(row.key)));
  }
  ABSL_RETURN_IF_ERROR(found.status());
  ABSL_ASSIGN_OR_RETURN(LedgerStatement notes,
                        (*undo)->Prepare("SELECT target, n.name, value, sum, coalesce(t.name, 'a target that has no "
                                         "name') FROM notes n LEFT JOIN targets "
                                         "t "
                                         "ON t.id = target"));
  for (found = notes.Step(); found.ok() && *found; found = notes.Step()) {
    if (UndoNoteSum(notes.Integer(0), notes.Text(1), notes.Text(2)) == notes.Integer(3)) continue;
    damaged(notes.Text(4), "a note on what the job has made there");
  }
  ABSL_RETURN_IF_ERROR(found.status());
  return check;
}

int64_t UndoBytes(const std::string& dir) {
  int64_t bytes = 0;
  for (const char* const suffix : {"", "-wal"}) {
    std::error_code none;
    const auto size = std::filesystem::file_size(PathOf(dir) + suffix, none);
    if (!none) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

absl::Status RemoveUndo(const std::string& dir) {
  // In this order: SQLite drops a log that has no file.
  for (const char* const suffix : {"", "-wal", "-shm"}) {
    const std::string path = PathOf(dir) + suffix;
    std::error_code failed;
    std::filesystem::remove(path, failed);
    if (failed) return absl::ErrnoToStatus(failed.value(), absl::StrCat(path, ": cannot be removed"));
    KillPoint("undo: one of its files removed");
  }
  // Or what is forgotten would be back after a power cut, and be taken for what stood there before the next run.
  return SyncFolderOf(PathOf(dir));
}

}  // namespace reembed
