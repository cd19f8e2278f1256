// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/own_file.h"
#include "io/share/vector_cache.h"
#include "io/store/sqlite/sqlite_db.h"

namespace reembed {
namespace {

constexpr int64_t kApplicationId = 0x72656d63;  // "remc"
constexpr int64_t kFormat = 1;
// When the file is full so many of its values go, the oldest.
constexpr int64_t kShareThatGoes = 16;

class FileCache final : public VectorCache {
 public:
  FileCache(std::unique_ptr<SqliteDb> db, int64_t max_bytes)
      : db_(std::move(db)),
        max_bytes_(max_bytes),
        worker_(absl::StrFormat("%d:%016x", getpid(),
                                std::random_device{}() * uint64_t{1} << 32 | std::random_device{}())) {}

  const std::string& name() const override { return db_->path(); }

  // Changes nothing in a file of somebody else.
  absl::Status Prepare() {
    ABSL_ASSIGN_OR_RETURN(const int64_t id, Number("PRAGMA application_id"));
    ABSL_ASSIGN_OR_RETURN(const int64_t tables, Number("SELECT count(*) FROM sqlite_master"));
    if (tables > 0 && id != kApplicationId) {
      return absl::InvalidArgumentError(absl::StrCat(
          db_->path(), ": expected a cache of reembed, got an SQLite file of something else; name another"));
    }
    ABSL_ASSIGN_OR_RETURN(const int64_t format, Number("PRAGMA user_version"));
    if (format > kFormat) {
      return absl::FailedPreconditionError(absl::StrCat(db_->path(), ": has format ", format,
                                                        ", and this program knows ", kFormat,
                                                        "; a newer version of reembed reads it"));
    }
    // Vectors tell much of their texts. Also a file that was made before this was minded.
    ABSL_RETURN_IF_ERROR(ClaimOwnFile(db_->path(), Absent::kFail));
    ABSL_RETURN_IF_ERROR(db_->Exec("PRAGMA journal_mode = WAL"));
    // A value that is lost with the power is bought again.
    ABSL_RETURN_IF_ERROR(db_->Exec("PRAGMA synchronous = NORMAL"));
    ABSL_RETURN_IF_ERROR(db_->Exec(absl::StrCat("PRAGMA application_id = ", kApplicationId)));
    ABSL_RETURN_IF_ERROR(db_->Exec(absl::StrCat("PRAGMA user_version = ", kFormat)));
    // In the order in which they came, so that the oldest are at the beginning.
    ABSL_RETURN_IF_ERROR(db_->Exec(
        "CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)"));
    ABSL_RETURN_IF_ERROR(
        db_->Exec("CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, worker TEXT NOT NULL, until INTEGER NOT "
                  "NULL) WITHOUT "
                  "ROWID"));
    ABSL_ASSIGN_OR_RETURN(get_, db_->Prepare("SELECT value FROM vectors WHERE key = ?1"));
    ABSL_ASSIGN_OR_RETURN(put_, db_->Prepare("INSERT OR REPLACE INTO vectors (key, value) VALUES (?1, ?2)"));
    ABSL_ASSIGN_OR_RETURN(claim_,
                          db_->Prepare("INSERT INTO claims (key, worker, until) VALUES (?1, ?2, ?3) ON CONFLICT "
                                       "(key) DO UPDATE SET worker = ?2, until = ?3 WHERE until <= ?4"));
    ABSL_ASSIGN_OR_RETURN(give_back_, db_->Prepare("DELETE FROM claims WHERE key = ?1 AND worker = ?2"));
    return absl::OkStatus();
  }

  absl::Status Look(absl::Span<const CacheKey> keys, std::vector<CacheLook>* looks) override {
    looks->clear();
    bool lacks = false;
    for (const CacheKey& key : keys) {
      ABSL_ASSIGN_OR_RETURN(std::string value, Get(key));
      lacks |= value.empty();
      looks->push_back({.value = std::move(value)});
    }
    if (!lacks) return absl::OkStatus();
    return InTransaction([&]() -> absl::Status {
      const int64_t now = absl::ToUnixMillis(absl::Now());
      for (size_t i = 0; i < keys.size(); ++i) {
        CacheLook& look = (*looks)[i];
        if (!look.value.empty()) continue;
        ABSL_ASSIGN_OR_RETURN(look.value, Get(keys[i]));  // somebody may have put it there meanwhile
        if (!look.value.empty()) continue;
        claim_.BindBlob(1, keys[i]);
        claim_.BindText(2, worker_);
        claim_.Bind(3, now + absl::ToInt64Milliseconds(kCacheClaim));
        claim_.Bind(4, now);
        ABSL_RETURN_IF_ERROR(claim_.Run());
        look.others_buy = db_->ChangedRows() == 0;
      }
      return absl::OkStatus();
    });
  }

  absl::Status Put(absl::Span<const CacheKey> keys, absl::Span<const std::string> values) override {
    ABSL_RETURN_IF_ERROR(MakeRoom());
    return InTransaction([&]() -> absl::Status {
      for (size_t i = 0; i < keys.size(); ++i) {
        if (!values[i].empty()) ABSL_RETURN_IF_ERROR(PutOne(keys[i], values[i]));
        give_back_.BindBlob(1, keys[i]);
        give_back_.BindText(2, worker_);
        ABSL_RETURN_IF_ERROR(give_back_.Run());
      }
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::string> PutOnce(const CacheKey& key, absl::string_view value) override {
    std::string there;
    ABSL_RETURN_IF_ERROR(InTransaction([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(there, Get(key));
      if (!there.empty() || value.empty()) return absl::OkStatus();
      there = std::string(value);
      return PutOne(key, value);
    }));
    return there;
  }

 private:
  absl::StatusOr<int64_t> Number(absl::string_view sql) const {
    ABSL_ASSIGN_OR_RETURN(SqliteStatement statement, db_->Prepare(sql));
    ABSL_ASSIGN_OR_RETURN(const bool there, statement.Step());
    return there ? statement.Int(0) : 0;
  }

  template <typename Work>
  absl::Status InTransaction(const Work& work) {
    ABSL_RETURN_IF_ERROR(db_->Exec("BEGIN IMMEDIATE"));
    absl::Status status = work();
    if (status.ok()) status = db_->Exec("COMMIT");
    if (!status.ok() && db_->InTransaction()) db_->Exec("ROLLBACK").IgnoreError();
    return status;
  }

  absl::StatusOr<std::string> Get(const CacheKey& key) {
    get_.BindBlob(1, key);
    ABSL_ASSIGN_OR_RETURN(const bool there, get_.Step());
    std::string value = there ? std::string(get_.Blob(0)) : "";
    get_.Reset();
    return value;
  }

  absl::Status PutOne(const CacheKey& key, absl::string_view value) {
    put_.BindBlob(1, key);
    put_.BindBlob(2, value);
    return put_.Run();
  }

  // The room of what goes is used again; the file does not get smaller.
  absl::Status MakeRoom() {
    ABSL_ASSIGN_OR_RETURN(const int64_t page, Number("PRAGMA page_size"));
    ABSL_ASSIGN_OR_RETURN(const int64_t pages, Number("PRAGMA page_count"));
    ABSL_ASSIGN_OR_RETURN(const int64_t free, Number("PRAGMA freelist_count"));
    if ((pages - free) * page < max_bytes_) return absl::OkStatus();
    ABSL_ASSIGN_OR_RETURN(const int64_t first, Number("SELECT min(id) FROM vectors"));
    ABSL_ASSIGN_OR_RETURN(const int64_t last, Number("SELECT max(id) FROM vectors"));
    ABSL_RETURN_IF_ERROR(
        db_->Exec(absl::StrCat("DELETE FROM vectors WHERE id <= ", first + (last - first) / kShareThatGoes)));
    return db_->Exec(absl::StrCat("DELETE FROM claims WHERE until <= ", absl::ToUnixMillis(absl::Now())));
  }

  const std::unique_ptr<SqliteDb> db_;
  const int64_t max_bytes_;
  const std::string worker_;
  SqliteStatement get_, put_, claim_, give_back_;  // after the connection: they end before it
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorCache>> OpenFileCache(const std::string& path, int64_t max_bytes) {
  // SQLite would make it with the umask's rights, and through a link.
  ABSL_ASSIGN_OR_RETURN(const bool exists, PathExists(path));
  std::error_code ignored;
  if (!exists) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    ABSL_RETURN_IF_ERROR(ClaimOwnFile(path, Absent::kMake));
  }
  if (std::filesystem::is_symlink(path, ignored)) return NotOursError(path);
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqliteDb> db, SqliteDb::Open(path, SqliteAccess::kCreate));
  auto cache = std::make_unique<FileCache>(std::move(db), max_bytes);
  ABSL_RETURN_IF_ERROR(cache->Prepare());
  return cache;
}

}  // namespace reembed
