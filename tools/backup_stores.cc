#include "tools/backup_stores.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "io/file/file.h"
#include "io/file/vectors_json_backup.h"
#include "io/store/sqlite_backup.h"
#include "io/store/sqlite_db.h"
#include "tools/format.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

std::string FileName(const Location& place) { return fs::path(place.path).filename().string(); }

int64_t Sum(const RowCounts& rows) {
  return std::accumulate(rows.begin(), rows.end(), int64_t{0},
                         [](int64_t sum, const auto& row) { return sum + row.second; });
}

// A folder that is not there would be found out when the new is half written.
absl::Status CheckFolderOf(const std::string& path) {
  const fs::path folder = fs::absolute(path).parent_path();
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(folder.string(), ": no such folder; make it, or say where with --db"));
}

absl::Status BackUpSqliteFile(const Location& place, BackupFolder* folder) {
  BackupPart part{.file = FileName(place), .kind = "sqlite", .origin = place.ToString()};
  const absl::StatusOr<std::string> path = folder->PathOf(part.file);
  if (!path.ok()) return path.status();
  absl::StatusOr<RowCounts> rows = BackUpSqlite(place.path, *path);
  if (!rows.ok()) return rows.status();
  part.rows = *std::move(rows);
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> SqliteOccupant(const BackupGroup& group) {
  const std::string& path = group.place.path;
  const absl::StatusOr<bool> there = PathExists(path);
  if (!there.ok()) return there.status();
  if (!*there) {
    if (absl::Status folder = CheckFolderOf(path); !folder.ok()) return folder;
    return "";
  }
  const absl::StatusOr<std::unique_ptr<SqliteDb>> db = SqliteDb::Open(path, SqliteAccess::kReadOnly);
  if (!db.ok()) return absl::StrCat(path, " (it cannot be read)");
  const absl::StatusOr<RowCounts> rows = CountSqliteRows(**db);
  return absl::StrCat(path, rows.ok() ? absl::StrCat(" (", WithCommas(Sum(*rows)), " rows)") : " (it is damaged)");
}

absl::Status RestoreSqliteFile(const std::string& dir, const BackupGroup& group) {
  const BackupPart& part = group.parts.front();
  return RestoreSqlite(absl::StrCat(dir, "/", part.file), group.place.path, part.rows);
}

absl::Status BackUpMemuFile(const Location& place, BackupFolder* folder) {
  BackupPart part{.file = FileName(place), .kind = "memu", .origin = place.ToString()};
  const absl::StatusOr<std::string> path = folder->PathOf(part.file);
  if (!path.ok()) return path.status();
  absl::StatusOr<RowCounts> rows = BackUpVectorsJson(place.path, *path);
  if (!rows.ok()) return rows.status();
  part.rows = *std::move(rows);
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> MemuOccupant(const BackupGroup& group) {
  const absl::StatusOr<bool> there = PathExists(group.place.path);
  if (!there.ok()) return there.status();
  if (*there) return group.place.path;
  if (absl::Status folder = CheckFolderOf(group.place.path); !folder.ok()) return folder;
  return "";
}

absl::Status RestoreMemuFile(const std::string& dir, const BackupGroup& group) {
  return RestoreVectorsJson(absl::StrCat(dir, "/", group.parts.front().file), group.place.path);
}

constexpr BackupStore kStores[] = {
    {"sqlite", BackUpSqliteFile, SqliteOccupant, RestoreSqliteFile},
    {"memu", BackUpMemuFile, MemuOccupant, RestoreMemuFile},
};

}  // namespace

const BackupStore* FindBackupStore(absl::string_view scheme) {
  if (scheme == "postgresql") scheme = "postgres";
  const auto found = std::find_if(std::begin(kStores), std::end(kStores),
                                  [&](const BackupStore& store) { return scheme == store.kind; });
  return found == std::end(kStores) ? nullptr : found;
}

std::string BackupSchemes() {
  return absl::StrJoin(kStores, ", ", [](std::string* out, const BackupStore& store) { *out += store.kind; });
}

}  // namespace reembed
