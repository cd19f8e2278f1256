// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/file/backup_folder.h"
#include "tools/commands.h"
#include "tools/database_url.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/presets.h"
#include "tools/registry.h"
#include "tools/resolve_preset.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"

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

bool IsAmong(absl::Span<const Location> places, const Location& place) {
  return std::any_of(places.begin(), places.end(),
                     [&](const Location& other) { return other.scheme == place.scheme && other.path == place.path; });
}

absl::Status AddSystem(const BackupOptions& options, const Environment& environment, std::vector<Location>* places) {
  ABSL_ASSIGN_OR_RETURN(SystemPreset preset, FindSystem(options.system, environment));
  const CommandOptions asked{
      .db = options.db, .db_token_env = options.db_token_env, .db_password_env = options.db_password_env};
  NameTargets(options.sources, &preset);
  ABSL_ASSIGN_OR_RETURN(const std::vector<Location> databases, FindDatabases(preset, asked, environment));
  for (const Location& database : databases) {
    ABSL_ASSIGN_OR_RETURN(std::vector<Location> of_database, PresetPlaces(preset, asked, environment, database));
    for (Location& place : of_database) {
      if (!IsAmong(*places, place)) places->push_back(std::move(place));
    }
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
    // A collection that a system's graph has brought along is there already.
    if (!IsAmong(places, place)) places.push_back(std::move(place));
  }
  if (places.empty()) return absl::InvalidArgumentError("nothing to save; say --system NAME, or --source URI");
  std::set<std::string> names;
  for (const Location& place : places) {
    const StoreKind* const kind = FindBackupKind(place.scheme);
    if (kind == nullptr) {
      return absl::UnimplementedError(absl::StrCat(place.ToString(), ": this program saves ", BackupKindNames(),
                                                   "; copy other places with their own tools"));
    }
    if (!names.insert(kind->is_file ? fs::path(place.path).filename().string() : kind->name).second) {
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
    std::cout << "backup " << dir << " is complete; to restore it: reembed restore " << dir << std::endl;
  }
}

// The bytes of the files in a folder, of what can be looked at.
int64_t BytesIn(const std::string& folder) {
  int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error); !error && at != fs::recursive_directory_iterator();
       at.increment(error)) {
    std::error_code none;
    const auto size = at->file_size(none);
    if (!none) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

// What a place will take, about; 0: not known.
int64_t BytesOf(const Location& place) {
  std::error_code none;
  const auto size = KindOf(place).is_file ? fs::file_size(place.path, none) : 0;
  return none ? 0 : static_cast<int64_t>(size);
}

// Saves one place into files of the folder.
absl::Status BackUpPlace(const Location& place, const BackupOptions& options, BackupFolder* folder) {
  const StoreKind& kind = KindOf(place);
  const std::string partial = options.to + ".partial";
  const int64_t before = BytesIn(partial);
  StageProgress progress(ProgressStyleOf(options.progress, options.quiet));
  progress.At(PlaceName(place));
  progress.Measure("saving", BytesOf(place), StageUnit::kBytes,
                   [partial, before] { return BytesIn(partial) - before; });
  ABSL_ASSIGN_OR_RETURN(std::vector<BackupPart> parts,
                        kind.backup.back_up(place, {.begun = folder->begun(), .path_of = [&](const std::string& file) {
                                                      return folder->PathOf(file);
                                                    }}));
  for (BackupPart& part : parts) {
    part.kind = kind.name;
    if (part.origin.empty()) part.origin = place.ToString();
    ABSL_RETURN_IF_ERROR(folder->Add(std::move(part)));
  }
  return absl::OkStatus();
}

absl::StatusOr<BackupManifest> BackUp(const BackupOptions& options, const std::vector<Location>& places) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<BackupFolder> folder, BackupFolder::Make(options.to));
  const StopSignals signals({.command = "backup",
                             .left = absl::StrCat("there is no backup ", options.to, "; the next of that name removes ",
                                                  options.to, ".partial, or you do"),
                             .json = options.json});
  for (const Location& place : places) {
    if (!options.quiet && !options.json) std::cerr << "reading " << place.ToString() << std::endl;
    ABSL_RETURN_IF_ERROR(BackUpPlace(place, options, folder.get()));
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
