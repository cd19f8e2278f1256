#include "io/job/undo_store.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/kill_point.h"
#include "engine/place_name.h"
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
  const absl::StatusOr<int64_t> application = undo->QueryInteger("PRAGMA application_id");
  if (!application.ok()) return application.status();
  const absl::StatusOr<int64_t> format = undo->QueryInteger("PRAGMA user_version");
  if (!format.ok()) return format.status();
  if (*application == kApplicationId && *format >= 1 && *format <= kUndoFormat) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      undo->path(), ": expected what a run has overwritten, in format ", kUndoFormat, ", got ",
      *application == kApplicationId ? absl::StrCat("format ", *format, "; use a newer reembed") : "another file"));
}

absl::StatusOr<bool> IsEmpty(LedgerConnection* undo) {
  const absl::StatusOr<int64_t> tables = undo->QueryInteger("SELECT count(*) FROM sqlite_master");
  if (!tables.ok()) return tables.status();
  return *tables == 0;
}

absl::Status CreateTables(LedgerConnection* undo) {
  // One transaction: a crash leaves either nothing or all of them.
  return undo->Execute(absl::StrCat("BEGIN IMMEDIATE;", kSchema, "PRAGMA application_id = ", kApplicationId,
                                    "; PRAGMA user_version = ", kUndoFormat, "; COMMIT"));
}

}  // namespace

class UndoStore::Log final : public UndoLog {
 public:
  Log(UndoStore* store, absl::string_view target) : store_(store), target_(target) {}

  absl::Status Keep(absl::FunctionRef<absl::StatusOr<std::optional<OldRow>>()> next) override {
    return store_->InTransaction(target_, [&](int64_t target) ABSL_EXCLUSIVE_LOCKS_REQUIRED(store_->mutex_) {
      while (true) {
        const absl::StatusOr<std::optional<OldRow>> row = next();
        if (!row.ok()) return row.status();
        if (!row->has_value()) return absl::OkStatus();
        LedgerStatement& insert = store_->insert_row_;
        insert.Bind(1, target);
        insert.Bind(2, (*row)->ordinal);
        insert.BindKey(3, (*row)->key);
        if ((*row)->content.has_value()) {
          insert.BindBlob(4, *(*row)->content);
        } else {
          insert.BindNull(4);
        }
        if (store_->has_sums_) insert.Bind(5, UndoRowSum(target, **row));
        if (absl::Status status = insert.Run(); !status.ok()) return status;
      }
    });
  }

  absl::Status KeepNote(absl::string_view name, absl::string_view value) override {
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

std::unique_ptr<UndoLog> UndoStore::LogOf(absl::string_view target) { return std::make_unique<Log>(this, target); }

absl::Status UndoStore::OpenOnce() {
  if (file_ != nullptr) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<LedgerConnection>> file =
      LedgerConnection::Open(path_, LedgerAccess::kReadWrite, kPageBytes);
  if (!file.ok()) return file.status();
  const absl::StatusOr<bool> empty = IsEmpty(file->get());
  if (!empty.ok()) return empty.status();
  if (*empty) {
    if (absl::Status made = CreateTables(file->get()); !made.ok()) return made;
  }
  if (absl::Status format = CheckFormat(file->get()); !format.ok()) return format;
  // As many bytes as the ledger gives its log, in larger pages.
  absl::Status status = (*file)->Execute("PRAGMA wal_autocheckpoint=1250; PRAGMA cache_size=-8192");
  if (!status.ok()) return status;
  const absl::StatusOr<bool> has_sums = HasUndoSums(file->get());
  if (!has_sums.ok()) return has_sums.status();
  has_sums_ = *has_sums;
  const std::pair<LedgerStatement*, absl::string_view> statements[] = {
      {&insert_row_,
       has_sums_ ? "INSERT OR IGNORE INTO old_rows(target, ordinal, key, content, sum) VALUES(?1, ?2, ?3, ?4, ?5)"
                 : "INSERT OR IGNORE INTO old_rows(target, ordinal, key, content) VALUES(?1, ?2, ?3, ?4)"},
      {&insert_note_, has_sums_ ? "INSERT OR IGNORE INTO notes VALUES(?1, ?2, ?3, ?4)"
                                : "INSERT OR IGNORE INTO notes VALUES(?1, ?2, ?3)"}};
  for (const auto& [statement, sql] : statements) {
    absl::StatusOr<LedgerStatement> prepared = (*file)->Prepare(sql);
    if (!prepared.ok()) return prepared.status();
    *statement = *std::move(prepared);
  }
  file_ = *std::move(file);
  return absl::OkStatus();
}

// A target that an older version knows by a relative path gets its own name; nullopt: there is none.
absl::StatusOr<std::optional<int64_t>> UndoStore::AdoptTarget(const std::string& name) {
  const absl::StatusOr<Location> place = ParseLocation(name);
  if (!place.ok()) return std::nullopt;
  const absl::StatusOr<std::vector<UndoTarget>> targets = ReadUndoTargets(file_.get());
  if (!targets.ok()) return targets.status();
  for (const UndoTarget& target : *targets) {
    if (!IsNameOf(target.name, *place)) continue;
    absl::StatusOr<LedgerStatement> rename = file_->Prepare("UPDATE targets SET name = ?1 WHERE id = ?2");
    if (!rename.ok()) return rename.status();
    rename->BindText(1, name);
    rename->Bind(2, target.id);
    if (absl::Status renamed = rename->Run(); !renamed.ok()) return renamed;
    return target.id;
  }
  return std::nullopt;
}

absl::StatusOr<int64_t> UndoStore::TargetId(const std::string& name) {
  absl::StatusOr<LedgerStatement> find = file_->Prepare("SELECT id FROM targets WHERE name = ?1");
  if (!find.ok()) return find.status();
  find->BindText(1, name);
  absl::StatusOr<bool> row = find->Step();
  if (!row.ok()) return row.status();
  if (*row) return find->Integer(0);
  const absl::StatusOr<std::optional<int64_t>> adopted = AdoptTarget(name);
  if (!adopted.ok()) return adopted.status();
  if (adopted->has_value()) return **adopted;
  absl::StatusOr<LedgerStatement> insert = file_->Prepare("INSERT INTO targets(name) VALUES(?1) RETURNING id");
  if (!insert.ok()) return insert.status();
  insert->BindText(1, name);
  row = insert->Step();
  if (!row.ok()) return row.status();
  const int64_t id = *row ? insert->Integer(0) : 0;
  insert->Reset();
  return id;
}

// Not analysed: `body` requires this store's mutex, and calls it by another name.
template <typename Body>
absl::Status UndoStore::InTransaction(const std::string& target, Body body) {
  const MutexLock lock(&mutex_);
  if (absl::Status opened = OpenOnce(); !opened.ok()) return opened;
  absl::Status status = file_->Execute("BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  const absl::StatusOr<int64_t> id = TargetId(target);
  status = id.ok() ? body(*id) : id.status();
  KillPoint("undo: before the commit");
  if (status.ok()) status = file_->Execute("COMMIT");
  KillPoint("undo: committed");
  // SQLite may have rolled back by itself; then this fails, and nothing is lost by that.
  if (!status.ok()) file_->Execute("ROLLBACK").IgnoreError();
  if (absl::IsResourceExhausted(status)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(status.message(), "; nothing that is not kept is overwritten; --no-undo keeps nothing"));
  }
  return status;
}

absl::StatusOr<std::unique_ptr<LedgerConnection>> OpenUndo(const std::string& dir) {
  absl::StatusOr<std::unique_ptr<LedgerConnection>> undo = LedgerConnection::Open(PathOf(dir), LedgerAccess::kReadOnly);
  if (!undo.ok()) return undo.status();
  const absl::StatusOr<bool> empty = IsEmpty(undo->get());
  if (!empty.ok()) return empty.status();
  if (*empty) return absl::NotFoundError(absl::StrCat((*undo)->path(), ": is empty"));
  if (absl::Status format = CheckFormat(undo->get()); !format.ok()) return format;
  return undo;
}

absl::StatusOr<std::vector<UndoTarget>> ReadUndoTargets(LedgerConnection* undo) {
  absl::StatusOr<LedgerStatement> query = undo->Prepare(
      "SELECT id, name, (SELECT count(*) FROM old_rows WHERE target = targets.id) FROM targets ORDER BY id DESC");
  if (!query.ok()) return query.status();
  std::vector<UndoTarget> targets;
  absl::StatusOr<bool> row = query->Step();
  for (; row.ok() && *row; row = query->Step()) {
    targets.push_back({query->Integer(0), std::string(query->Text(1)), query->Integer(2)});
  }
  if (!row.ok()) return row.status();
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
  const absl::StatusOr<int64_t> format = undo->QueryInteger("PRAGMA user_version");
  if (!format.ok()) return format.status();
  return *format > 1;
}

absl::StatusOr<UndoCheck> CheckUndo(const std::string& dir) {
  UndoCheck check;
  if (UndoBytes(dir) == 0) return check;
  const absl::StatusOr<std::unique_ptr<LedgerConnection>> undo = OpenUndo(dir);
  if (absl::IsNotFound(undo.status())) return check;
  if (!undo.ok()) return undo.status();
  const absl::StatusOr<bool> has_sums = HasUndoSums(undo->get());
  if (!has_sums.ok()) return has_sums.status();
  if (!*has_sums) return check;
  const auto damaged = [&](absl::string_view target, absl::string_view what) {
    if (++check.damaged > static_cast<int64_t>(UndoCheck::kMaxShown)) return;
    check.shown.push_back(absl::StrCat((*undo)->path(), ": ", target, ": ", what,
                                       " is damaged; a rollback leaves what it was kept for as it is"));
  };
  // A row of a target that is not there is one whose target is damaged.
  absl::StatusOr<LedgerStatement> rows = (*undo)->Prepare(
      "SELECT target, ordinal, key, content, sum, coalesce(name, 'a target that has no name') FROM "
      "old_rows LEFT JOIN targets t ON t.id = target ORDER BY old_rows.id");
  if (!rows.ok()) return rows.status();
  absl::StatusOr<bool> found = rows->Step();
  for (; found.ok() && *found; found = rows->Step()) {
    ++check.rows;
    OldRow row = {.ordinal = rows->Integer(1), .key = rows->KeyAt(2)};
    if (!rows->IsNull(3)) row.content = rows->Blob(3);
    if (UndoRowSum(rows->Integer(0), row) == rows->Integer(4)) continue;
    damaged(rows->Text(5), absl::StrCat("what was kept of row ", KeyText(row.key)));
  }
  if (!found.ok()) return found.status();
  absl::StatusOr<LedgerStatement> notes = (*undo)->Prepare(
      "SELECT target, n.name, value, sum, coalesce(t.name, 'a target that has no name') FROM notes n LEFT JOIN targets "
      "t "
      "ON t.id = target");
  if (!notes.ok()) return notes.status();
  for (found = notes->Step(); found.ok() && *found; found = notes->Step()) {
    if (UndoNoteSum(notes->Integer(0), notes->Text(1), notes->Text(2)) == notes->Integer(3)) continue;
    damaged(notes->Text(4), "a note on what the job has made there");
  }
  if (!found.ok()) return found.status();
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
