// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/file/backup_folder.h"
#include "io/system/automem_rows.h"
#include "tools/backup_stores.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/presets.h"
#include "tools/resolve_automem.h"
#include "tools/resolve_preset.h"
#include "tools/signals.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// The databases of a system: the one that is named, or all that are where its programs keep them.
absl::StatusOr<std::vector<Location>> FindDatabases(const SystemPreset& preset, const CommandOptions& options,
                                                    const Environment& environment) {
  std::vector<std::string> ignored;
  ABSL_ASSIGN_OR_RETURN(PresetDatabase first, FindDatabase(preset, options, environment, &ignored));
  std::vector<Location> databases = {std::move(first.location)};
  std::vector<Location> kept;
  for (const std::string& path : preset.databases) {
    if (!fs::exists(ExpandHome(path, environment))) continue;
    ABSL_ASSIGN_OR_RETURN(Location place, ParseDatabase(path, environment));
    kept.push_back(std::move(place));
  }
  const bool is_named = !options.db.empty() || kept.empty() || kept.front().path != databases.front().path;
  return is_named ? databases : kept;
}

// The tables of a system in PostgreSQL: a database may have those of other programs, too.
std::string TablesOf(const SystemPreset& preset) {
  std::vector<std::string> tables = preset.insert.drop;
  for (const PresetStream& stream : preset.streams) {
    const bool is_new = std::find(tables.begin(), tables.end(), stream.table) == tables.end();
    if (is_new && stream.kind == "postgres") tables.push_back(stream.table);
  }
  return absl::StrJoin(tables, ",");
}

// The graph and the collection of AutoMem.
absl::StatusOr<std::vector<Location>> AutomemPlaces(const SystemPreset& preset, const CommandOptions& options,
                                                    const Environment& environment, const Location& database) {
  ABSL_ASSIGN_OR_RETURN(const Location both,
                        AutomemSource(preset, preset.streams.front(), options, environment, database));
  ABSL_ASSIGN_OR_RETURN(const AutomemLocation parsed, ParseAutomemLocation(both));
  const Location points = {.scheme = parsed.points.scheme, .path = parsed.points.path};
  std::vector<Location> places = {database, points};
  ABSL_RETURN_IF_ERROR(AddSecret({}, environment, &places.back()));
  return places;
}

absl::Status AddSystem(const BackupOptions& options, const Environment& environment, std::vector<Location>* places) {
  ABSL_ASSIGN_OR_RETURN(const SystemPreset preset, FindSystem(options.system, environment));
  const CommandOptions asked{.db = options.db,
                             .db_token_env = options.db_token_env,
                             .db_password_env = options.db_password_env,
                             .targets = options.sources};
  ABSL_ASSIGN_OR_RETURN(const std::vector<Location> databases, FindDatabases(preset, asked, environment));
  if (preset.streams.front().kind == "automem") {
    ABSL_ASSIGN_OR_RETURN(*places, AutomemPlaces(preset, asked, environment, databases.front()));
    return absl::OkStatus();
  }
  for (const Location& database : databases) {
    places->push_back(database);
    if (IsPostgres(database)) places->back().parameters["tables"] = TablesOf(preset);
    if (preset.vectors.empty() || database.scheme != "sqlite") continue;
    // Behind the database: a vector without its row does no harm, a row without its vector does.
    const fs::path vectors = fs::path(database.path).parent_path() / preset.vectors;
    const std::string path = AbsolutePath(vectors.string());
    const bool is_new = std::none_of(places->begin(), places->end(), [&](const Location& other) {
      return other.scheme == "memu" && other.path == path;
    });
    if (is_new && fs::exists(vectors)) places->push_back({.scheme = "memu", .path = path});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Location>> FindPlaces(const BackupOptions& options, const Environment& environment) {
  std::vector<Location> places;
  if (!options.system.empty()) {
    ABSL_RETURN_IF_ERROR(AddSystem(options, environment, &places));
  }
  for (const std::string& uri : options.sources) {
    ABSL_ASSIGN_OR_RETURN(Location place,
                          ParsePlace(uri, {options.db_token_env, options.db_password_env}, environment));
    // A collection that AutoMem's graph has brought along is there already.
    const bool is_new = std::none_of(places.begin(), places.end(), [&](const Location& other) {
      return other.scheme == place.scheme && other.path == place.path;
    });
    if (is_new) places.push_back(std::move(place));
  }
  if (places.empty()) return absl::InvalidArgumentError("nothing to save; say --system NAME, or --source URI");
  std::set<std::string> names;
  for (const Location& place : places) {
    if (FindBackupStore(place.scheme) == nullptr) {
      return absl::UnimplementedError(absl::StrCat(place.ToString(), ": this program saves ", BackupSchemes(),
                                                   "; copy other places with their own means"));
    }
    const bool is_file = place.scheme == "sqlite" || place.scheme == "memu";
    if (!names.insert(is_file ? fs::path(place.path).filename().string() : place.scheme).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(place.ToString(), ": another place of this backup has the same name; make two backups"));
    }
  }
  return places;
}

void Print(const std::string& dir, const BackupManifest& manifest, bool json) {
  int64_t bytes = 0, rows = 0;
  for (const BackupPart& part : manifest.parts) {
    const int64_t part_rows = std::accumulate(part.rows.begin(), part.rows.end(), int64_t{0},
                                              [](int64_t sum, const auto& row) { return sum + row.second; });
    bytes += part.bytes;
    rows += part_rows;
    if (json) {
      JsonLine line("part");
      line.Add("file", part.file).Add("kind", part.kind).Add("origin", part.origin).Add("bytes", part.bytes);
      std::cout << line.Add("rows", part_rows).Add("xxh3_128", part.hash).ToString() << "\n";
    } else {
      std::cout << part.file << ": " << Counted(part_rows, "row", "rows") << ", " << BytesText(part.bytes) << ", of "
                << part.origin << "\n";
    }
  }
  if (json) {
    JsonLine line("summary");
    line.Add("backup", dir).Add("parts", static_cast<int64_t>(manifest.parts.size())).Add("bytes", bytes);
    std::cout << line.Add("rows", rows).Add("exit_code", 0).ToString() << std::endl;
  } else {
    std::cout << "backup " << dir << " is whole; to put it back: reembed restore " << dir << std::endl;
  }
}

absl::StatusOr<BackupManifest> BackUp(const BackupOptions& options, const std::vector<Location>& places) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<BackupFolder> folder, BackupFolder::Make(options.to));
  const StopSignals signals({.command = "backup",
                             .left = absl::StrCat("there is no backup ", options.to, "; the next of that name removes ",
                                                  options.to, ".partial, or you do"),
                             .json = options.json});
  for (const Location& place : places) {
    if (!options.quiet && !options.json) std::cerr << "reading " << place.ToString() << std::endl;
    ABSL_RETURN_IF_ERROR(FindBackupStore(place.scheme)->back_up(place, folder.get()));
  }
  return folder->Finish("reembed " REEMBED_VERSION, options.system);
}

}  // namespace

ExitCode BackupCommand(const BackupOptions& options, const Environment& environment) {
  const absl::StatusOr<std::vector<Location>> places = FindPlaces(options, environment);
  if (!places.ok()) return Fail("backup", places.status(), options.json);
  const absl::StatusOr<BackupManifest> manifest = BackUp(options, *places);
  if (!manifest.ok()) return Fail("backup", manifest.status(), options.json);
  if (!options.quiet || options.json) Print(options.to, *manifest, options.json);
  return kExitDone;
}

}  // namespace reembed
