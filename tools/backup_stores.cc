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
#include "io/file/file.h"
#include "io/file/open_elsewhere.h"
#include "io/file/vectors_json_backup.h"
#include "io/store/falkordb_backup.h"
#include "io/store/libsql_backup.h"
#include "io/store/libsql_db.h"
#include "io/store/postgres_backup.h"
#include "io/store/qdrant_backup.h"
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

absl::StatusOr<std::string> SqliteOccupant(const std::string&, const BackupGroup& group) {
  const std::string& path = group.place.path;
  const absl::StatusOr<bool> there = PathExists(path);
  if (!there.ok()) return there.status();
  if (!*there) {
    if (absl::Status folder = CheckFolderOf(path); !folder.ok()) return folder;
    return "";
  }
  // Before another place of the backup is replaced.
  if (absl::Status unused = CheckNotOpenElsewhere(path); !unused.ok()) return unused;
  const absl::StatusOr<std::unique_ptr<SqliteDb>> db = SqliteDb::Open(path, SqliteAccess::kReadOnly);
  if (!db.ok()) return absl::StrCat(path, " (it cannot be read)");
  const absl::StatusOr<RowCounts> rows = CountSqliteRows(**db);
  return absl::StrCat(path,
                      rows.ok() ? absl::StrCat(" (", Counted(Sum(*rows), "row", "rows"), ")") : " (it is damaged)");
}

// The answer of a Restore() that has nothing to say.
absl::StatusOr<std::string> Silent(const absl::Status& status) {
  if (!status.ok()) return status;
  return "";
}

absl::StatusOr<std::string> RestoreSqliteFile(const std::string& dir, const BackupGroup& group) {
  const BackupPart& part = group.parts.front();
  return Silent(RestoreSqlite(absl::StrCat(dir, "/", part.file), group.place.path, part.rows));
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

absl::StatusOr<std::string> MemuOccupant(const std::string&, const BackupGroup& group) {
  const absl::StatusOr<bool> there = PathExists(group.place.path);
  if (!there.ok()) return there.status();
  if (*there) {
    if (absl::Status unused = CheckNotOpenElsewhere(group.place.path); !unused.ok()) return unused;
    return group.place.path;
  }
  if (absl::Status folder = CheckFolderOf(group.place.path); !folder.ok()) return folder;
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
  const absl::StatusOr<FalkorLocation> graph = FalkorPlace(place);
  if (!graph.ok()) return graph.status();
  const std::string timestamp = TimestampOf(*folder);
  BackupPart part{.file = absl::StrCat("falkordb/falkordb_", timestamp, ".json.gz"),
                  .kind = "falkordb",
                  .origin = Location{.scheme = place.scheme, .path = place.path}.ToString()};
  const absl::StatusOr<std::string> path = folder->PathOf(part.file);
  if (!path.ok()) return path.status();
  absl::StatusOr<RowCounts> rows = BackUpFalkorGraph(*graph, timestamp, *path);
  if (!rows.ok()) return rows.status();
  part.rows = *std::move(rows);
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> FalkordbOccupant(const std::string&, const BackupGroup& group) {
  const absl::StatusOr<FalkorLocation> graph = FalkorPlace(group.place);
  if (!graph.ok()) return graph.status();
  const absl::StatusOr<int64_t> nodes = CountFalkorNodes(*graph);
  if (!nodes.ok()) return nodes.status();
  if (*nodes < 0) return "";
  return absl::StrCat(group.place.ToString(), " (", Counted(*nodes, "node", "nodes"), ")");
}

absl::StatusOr<std::string> RestoreFalkordb(const std::string& dir, const BackupGroup& group) {
  const absl::StatusOr<FalkorLocation> graph = FalkorPlace(group.place);
  if (!graph.ok()) return graph.status();
  return RestoreFalkorGraph(absl::StrCat(dir, "/", group.parts.front().file), *graph);
}

absl::StatusOr<QdrantLocation> QdrantPlace(const Location& place) {
  return ParseQdrantLocation({.scheme = place.scheme, .path = place.path});
}

absl::Status BackUpQdrant(const Location& place, BackupFolder* folder) {
  const absl::StatusOr<QdrantLocation> collection = QdrantPlace(place);
  if (!collection.ok()) return collection.status();
  const std::string timestamp = TimestampOf(*folder);
  BackupPart part{.file = absl::StrCat("qdrant/qdrant_", timestamp, ".json.gz"),
                  .kind = "qdrant",
                  .origin = Location{.scheme = place.scheme, .path = place.path}.ToString()};
  const absl::StatusOr<std::string> path = folder->PathOf(part.file);
  if (!path.ok()) return path.status();
  absl::StatusOr<RowCounts> rows = BackUpQdrantCollection(*collection, {.api_key = place.secret}, timestamp, *path);
  if (!rows.ok()) return rows.status();
  part.rows = *std::move(rows);
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> QdrantOccupant(const std::string&, const BackupGroup& group) {
  const absl::StatusOr<QdrantLocation> collection = QdrantPlace(group.place);
  if (!collection.ok()) return collection.status();
  const absl::StatusOr<int64_t> points = CountQdrantCollection(*collection, {.api_key = group.place.secret});
  if (!points.ok()) return points.status();
  if (*points < 0) return "";
  return absl::StrCat(group.place.ToString(), " (", Counted(*points, "point", "points"), ")");
}

absl::StatusOr<std::string> RestoreQdrant(const std::string& dir, const BackupGroup& group) {
  const absl::StatusOr<QdrantLocation> collection = QdrantPlace(group.place);
  if (!collection.ok()) return collection.status();
  return RestoreQdrantCollection(absl::StrCat(dir, "/", group.parts.front().file), *collection,
                                 {.api_key = group.place.secret});
}

absl::Status BackUpLibsqlServer(const Location& place, BackupFolder* folder) {
  const absl::StatusOr<HranaServer> server = ParseLibsqlServer(place);
  if (!server.ok()) return server.status();
  BackupPart part{
      .file = "libsql.db",
      .kind = "libsql",
      .origin = Location{.scheme = place.scheme, .path = place.path, .parameters = place.parameters}.ToString()};
  const absl::StatusOr<std::string> path = folder->PathOf(part.file);
  if (!path.ok()) return path.status();
  absl::StatusOr<RowCounts> rows = BackUpLibsql(*server, *path);
  if (!rows.ok()) return rows.status();
  part.rows = *std::move(rows);
  return folder->Add(std::move(part));
}

absl::StatusOr<std::string> LibsqlOccupant(const std::string&, const BackupGroup& group) {
  const absl::StatusOr<HranaServer> server = ParseLibsqlServer(group.place);
  if (!server.ok()) return server.status();
  return Silent(CheckLibsqlIsEmpty(*server));
}

absl::StatusOr<std::string> RestoreLibsqlServer(const std::string& dir, const BackupGroup& group) {
  const absl::StatusOr<HranaServer> server = ParseLibsqlServer(group.place);
  if (!server.ok()) return server.status();
  const BackupPart& part = group.parts.front();
  return Silent(RestoreLibsql(absl::StrCat(dir, "/", part.file), *server, part.rows));
}

absl::Status BackUpPostgresTables(const Location& place, BackupFolder* folder) {
  const absl::StatusOr<PostgresTables> tables = ParsePostgresTables(place);
  if (!tables.ok()) return tables.status();
  absl::StatusOr<std::vector<BackupPart>> parts =
      BackUpPostgres(*tables, [&](const std::string& file) { return folder->PathOf(file); });
  if (!parts.ok()) return parts.status();
  for (BackupPart& part : *parts) {
    part.kind = "postgres";
    part.origin = place.ToString();
    if (absl::Status added = folder->Add(std::move(part)); !added.ok()) return added;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> PostgresOccupant(const std::string& dir, const BackupGroup& group) {
  const absl::StatusOr<PostgresTables> tables = ParsePostgresTables(group.place);
  if (!tables.ok()) return tables.status();
  return DescribePostgres(dir, group.parts, *tables);
}

absl::StatusOr<std::string> RestorePostgresTables(const std::string& dir, const BackupGroup& group) {
  const absl::StatusOr<PostgresTables> tables = ParsePostgresTables(group.place);
  if (!tables.ok()) return tables.status();
  return Silent(RestorePostgres(dir, group.parts, *tables));
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
