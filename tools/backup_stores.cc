// SPDX-License-Identifier: Apache-2.0
#include "tools/backup_stores.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/open_elsewhere.h"
#include "io/file/vectors_json_backup.h"
#include "io/store/falkordb/falkordb_backup.h"
#include "io/store/postgres/postgres_backup.h"
#include "io/store/qdrant/qdrant_backup.h"
#include "io/store/sqlite/libsql_backup.h"
#include "io/store/sqlite/libsql_db.h"
#include "io/store/sqlite/sqlite_backup.h"
#include "io/store/sqlite/sqlite_db.h"
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
  ABSL_ASSIGN_OR_RETURN(const std::string path, folder->PathOf(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpSqlite(place.path, path));
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> SqliteOccupant(const std::string&, const BackupGroup& group) {
  const std::string& path = group.place.path;
  ABSL_ASSIGN_OR_RETURN(const bool there, PathExists(path));
  if (!there) {
    ABSL_RETURN_IF_ERROR(CheckFolderOf(path));
    return "";
  }
  // Before another place of the backup is replaced.
  ABSL_RETURN_IF_ERROR(CheckNotOpenElsewhere(path));
  const absl::StatusOr<std::unique_ptr<SqliteDb>> db = SqliteDb::Open(path, SqliteAccess::kReadOnly);
  if (!db.ok()) return absl::StrCat(path, " (it cannot be read)");
  const absl::StatusOr<RowCounts> rows = CountSqliteRows(**db);
  return absl::StrCat(path,
                      rows.ok() ? absl::StrCat(" (", Counted(Sum(*rows), "row", "rows"), ")") : " (it is damaged)");
}

// The answer of a Restore() that has nothing to say.
absl::StatusOr<std::string> Silent(const absl::Status& status) {
  ABSL_RETURN_IF_ERROR(status);
  return "";
}

absl::StatusOr<std::string> RestoreSqliteFile(const std::string& dir, const BackupGroup& group) {
  const BackupPart& part = group.parts.front();
  return Silent(RestoreSqlite(absl::StrCat(dir, "/", part.file), group.place.path, part.rows));
}

absl::Status BackUpMemuFile(const Location& place, BackupFolder* folder) {
  BackupPart part{.file = FileName(place), .kind = "memu", .origin = place.ToString()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, folder->PathOf(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpVectorsJson(place.path, path));
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> MemuOccupant(const std::string&, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const bool there, PathExists(group.place.path));
  if (there) {
    ABSL_RETURN_IF_ERROR(CheckNotOpenElsewhere(group.place.path));
    return group.place.path;
  }
  ABSL_RETURN_IF_ERROR(CheckFolderOf(group.place.path));
  return "";
}

absl::StatusOr<std::string> RestoreMemuFile(const std::string& dir, const BackupGroup& group) {
  return Silent(RestoreVectorsJson(absl::StrCat(dir, "/", group.parts.front().file), group.place.path));
}

// As AutoMem names its files: graph and collection alike, as its restore looks for both under one name.
// [scripts/restore_from_backup.py:find_backup_by_timestamp]
std::string TimestampOf(const BackupFolder& folder) {
  return absl::FormatTime("%Y%m%d_%H%M%S", folder.begun(), absl::UTCTimeZone());
}

absl::StatusOr<FalkorLocation> FalkorPlace(const Location& place) {
  return ParseFalkorGraph(place, {.password = place.secret});
}

absl::Status BackUpFalkordb(const Location& place, BackupFolder* folder) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation graph, FalkorPlace(place));
  const std::string timestamp = TimestampOf(*folder);
  BackupPart part{.file = absl::StrCat("falkordb/falkordb_", timestamp, ".json.gz"),
                  .kind = "falkordb",
                  .origin = Location{.scheme = place.scheme, .path = place.path}.ToString()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, folder->PathOf(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpFalkorGraph(graph, timestamp, path));
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> FalkordbOccupant(const std::string&, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation graph, FalkorPlace(group.place));
  ABSL_ASSIGN_OR_RETURN(const int64_t nodes, CountFalkorNodes(graph));
  if (nodes < 0) return "";
  return absl::StrCat(group.place.ToString(), " (", Counted(nodes, "node", "nodes"), ")");
}

absl::StatusOr<std::string> RestoreFalkordb(const std::string& dir, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const FalkorLocation graph, FalkorPlace(group.place));
  return RestoreFalkorGraph(absl::StrCat(dir, "/", group.parts.front().file), graph);
}

absl::StatusOr<QdrantLocation> QdrantPlace(const Location& place) {
  return ParseQdrantLocation({.scheme = place.scheme, .path = place.path});
}

absl::Status BackUpQdrant(const Location& place, BackupFolder* folder) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation collection, QdrantPlace(place));
  const std::string timestamp = TimestampOf(*folder);
  BackupPart part{.file = absl::StrCat("qdrant/qdrant_", timestamp, ".json.gz"),
                  .kind = "qdrant",
                  .origin = Location{.scheme = place.scheme, .path = place.path}.ToString()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, folder->PathOf(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpQdrantCollection(collection, {.api_key = place.secret}, timestamp, path));
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> QdrantOccupant(const std::string&, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation collection, QdrantPlace(group.place));
  ABSL_ASSIGN_OR_RETURN(const int64_t points, CountQdrantCollection(collection, {.api_key = group.place.secret}));
  if (points < 0) return "";
  return absl::StrCat(group.place.ToString(), " (", Counted(points, "point", "points"), ")");
}

absl::StatusOr<std::string> RestoreQdrant(const std::string& dir, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation collection, QdrantPlace(group.place));
  return RestoreQdrantCollection(absl::StrCat(dir, "/", group.parts.front().file), collection,
                                 {.api_key = group.place.secret});
}

absl::Status BackUpLibsqlServer(const Location& place, BackupFolder* folder) {
  ABSL_ASSIGN_OR_RETURN(const HranaServer server, ParseLibsqlServer(place));
  BackupPart part{
      .file = "libsql.db",
      .kind = "libsql",
      .origin = Location{.scheme = place.scheme, .path = place.path, .parameters = place.parameters}.ToString()};
  ABSL_ASSIGN_OR_RETURN(const std::string path, folder->PathOf(part.file));
  ABSL_ASSIGN_OR_RETURN(part.rows, BackUpLibsql(server, path));
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> LibsqlOccupant(const std::string&, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const HranaServer server, ParseLibsqlServer(group.place));
  return Silent(CheckLibsqlIsEmpty(server));
}

absl::StatusOr<std::string> RestoreLibsqlServer(const std::string& dir, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const HranaServer server, ParseLibsqlServer(group.place));
  const BackupPart& part = group.parts.front();
  return Silent(RestoreLibsql(absl::StrCat(dir, "/", part.file), server, part.rows));
}

absl::Status BackUpPostgresTables(const Location& place, BackupFolder* folder) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTables tables, ParsePostgresTables(place));
  ABSL_ASSIGN_OR_RETURN(std::vector<BackupPart> parts,
                        BackUpPostgres(tables, [&](const std::string& file) { return folder->PathOf(file); }));
  for (BackupPart& part : parts) {
    part.kind = "postgres";
    part.origin = place.ToString();
    ABSL_RETURN_IF_ERROR(folder->Add(std::move(part)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> PostgresOccupant(const std::string& dir, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTables tables, ParsePostgresTables(group.place));
  return DescribePostgres(dir, group.parts, tables);
}

absl::StatusOr<std::string> RestorePostgresTables(const std::string& dir, const BackupGroup& group) {
  ABSL_ASSIGN_OR_RETURN(const PostgresTables tables, ParsePostgresTables(group.place));
  return Silent(RestorePostgres(dir, group.parts, tables));
}

constexpr BackupStore kStores[] = {
    {"sqlite", BackUpSqliteFile, SqliteOccupant, RestoreSqliteFile},
    {"memu", BackUpMemuFile, MemuOccupant, RestoreMemuFile},
    {"libsql", BackUpLibsqlServer, LibsqlOccupant, RestoreLibsqlServer},
    {"postgres", BackUpPostgresTables, PostgresOccupant, RestorePostgresTables},
    {"falkordb", BackUpFalkordb, FalkordbOccupant, RestoreFalkordb},
    {"qdrant", BackUpQdrant, QdrantOccupant, RestoreQdrant},
};

}  // namespace

const BackupStore* FindBackupStore(absl::string_view scheme) {
  if (scheme == "postgresql") scheme = "postgres";
  const auto found = std::find_if(std::begin(kStores), std::end(kStores),
                                  [&](const BackupStore& store) { return scheme == store.kind; });
  return found == std::end(kStores) ? nullptr : found;
}

std::optional<BackupManifest> FindAutomemBackup(const std::string& dir, const std::string& only) {
  BackupManifest manifest{.program = "AutoMem", .system = "automem"};
  for (const char* const store : {"falkordb", "qdrant"}) {
    std::string newest;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(dir) / store, ignored)) {
      const std::string name = entry.path().filename().string();
      if (!absl::StartsWith(name, absl::StrCat(store, "_")) || !absl::EndsWith(name, ".json.gz")) continue;
      const bool is_asked = absl::StrCat(store, "/", name) == only;
      newest = is_asked ? name : std::max(newest, name);
      if (is_asked) break;
    }
    if (newest.empty()) continue;
    manifest.parts.push_back({.file = absl::StrCat(store, "/", newest), .kind = store});
    absl::Time made;
    const std::string time = newest.substr(newest.find('_') + 1, 15);
    if (absl::ParseTime("%Y%m%d_%H%M%S", time, &made, nullptr)) manifest.made = made;
  }
  if (manifest.parts.empty()) return std::nullopt;
  return manifest;
}

std::string BackupSchemes() {
  return absl::StrJoin(kStores, ", ", [](std::string* out, const BackupStore& store) { *out += store.kind; });
}

}  // namespace reembed
