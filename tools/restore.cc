// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "engine/target_lock.h"
#include "io/file/backup_folder.h"
#include "io/file/file.h"
#include "tools/commands.h"
#include "tools/consent.h"
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

// Parts of a backup that came from one place and go back together.
struct BackupGroup {
  Location place;  // where they go
  std::vector<BackupPart> parts;
  bool named = false;  // by the user, not by the backup
};

// A folder that is not there would be found out when the new is half written.
absl::Status CheckFolderOf(const std::string& path) {
  const fs::path folder = fs::absolute(path).parent_path();
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(folder.string(), ": no such folder; make it, or say where with --db"));
}

bool IsOfKindOf(const Location& place, const Location& other) { return &KindOf(place) == &KindOf(other); }

// The parts that are asked for, by the place they came from.
absl::StatusOr<std::vector<BackupGroup>> GroupsOf(const BackupManifest& manifest, const RestoreOptions& options) {
  std::vector<BackupGroup> groups;
  std::string last_origin;
  std::vector<std::string> files;
  for (const BackupPart& part : manifest.parts) {
    files.push_back(part.file);
    if (!options.only.empty() && options.only != part.file) continue;
    if (FindBackupKind(part.kind) == nullptr) {
      return absl::UnimplementedError(absl::StrCat(part.file, ": is of the kind ", part.kind, ", and this program ",
                                                   "restores ", BackupKindNames(), "; a newer reembed may know it"));
    }
    if (groups.empty() || part.origin != last_origin || part.origin.empty()) {
      // A system's own backups do not say where they were made; --db and --target must.
      ABSL_ASSIGN_OR_RETURN(Location place, part.origin.empty() ? Location{.scheme = part.kind}
                                                                : ParseLocation(part.origin, StoreKinds()));
      if (!IsOfKindOf(place, {.scheme = part.kind})) {
        return absl::DataLossError(
            absl::StrCat(part.file, ": is of the kind ", part.kind, ", and came from ", part.origin));
      }
      groups.push_back({.place = std::move(place)});
    }
    groups.back().parts.push_back(part);
    last_origin = part.origin;
  }
  if (groups.empty()) {
    return absl::NotFoundError(absl::StrCat("--only ", options.only, ": the backup has ", absl::StrJoin(files, ", ")));
  }
  return groups;
}

// The password of a place that the system's own variables name with one; empty: they do not.
std::string SecretOfSystem(const std::string& system, Location place, const Environment& environment) {
  if (system.empty()) return "";
  place.parameters.erase("tables");
  const absl::StatusOr<SystemPreset> preset = FindSystem(system, environment);
  if (!preset.ok()) return "";
  const absl::StatusOr<std::optional<PresetDatabase>> server = PresetServer(*preset, {}, environment);
  // To no other server: the whole address is the same.
  const bool is_it = server.ok() && server->has_value() && (*server)->location.ToString() == place.ToString();
  return is_it ? (*server)->location.secret : "";
}

// What a user says where a place of this kind goes with.
absl::string_view FlagOf(const StoreKind& kind) { return kind.is_database ? "--db" : "--target"; }

// A manifest says where things go, and --yes is no look at it: then it must be as it was written, or what it names must
// be named.
absl::Status CheckPlacesAreTrusted(const BackupManifest& manifest, const RestoreOptions& options,
                                   const std::vector<BackupGroup>& groups) {
  if (!options.yes || manifest.doubt.empty()) return absl::OkStatus();
  for (const BackupGroup& group : groups) {
    if (group.named) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(manifest.doubt, ", so with --yes its places are not trusted; say where `",
                     group.parts.front().file, "` goes (it says ", group.place.ToString(), ") with ",
                     FlagOf(KindOf(group.place)), ", or leave --yes out and answer"));
  }
  return absl::OkStatus();
}

// Where the groups go when it is not where they came from.
absl::Status Redirect(const RestoreOptions& options, const std::string& system, const Environment& environment,
                      std::vector<BackupGroup>* groups) {
  if (!options.db.empty()) {
    ABSL_ASSIGN_OR_RETURN(Location place, ParseDatabase(options.db, environment));
    const auto is_database = [&](const BackupGroup& group) { return IsOfKindOf(group.place, place); };
    const auto first = std::find_if(groups->begin(), groups->end(), is_database);
    if (first == groups->end()) {
      return absl::InvalidArgumentError(absl::StrCat("--db: the backup holds no ", place.scheme, " database"));
    }
    if (std::count_if(groups->begin(), groups->end(), is_database) > 1) {
      return absl::InvalidArgumentError("--db: the backup holds several databases; choose one with --only FILE");
    }
    first->place = place;
    first->named = true;
    for (BackupGroup& group : *groups) {
      if (!KindOf(group.place).lies_beside_database) continue;
      group.place.path = (fs::path(place.path).parent_path() / fs::path(group.place.path).filename()).string();
      group.named = true;
    }
  }
  for (const std::string& uri : options.targets) {
    ABSL_ASSIGN_OR_RETURN(Location place,
                          ParsePlace(uri, {options.db_token_env, options.db_password_env}, environment));
    const auto group = std::find_if(groups->begin(), groups->end(),
                                    [&](const BackupGroup& each) { return IsOfKindOf(each.place, place); });
    if (group == groups->end()) {
      return absl::InvalidArgumentError(absl::StrCat("--target: the backup holds nothing of a ", place.scheme));
    }
    group->place = std::move(place);
    group->named = true;
  }
  for (BackupGroup& group : *groups) {
    if (group.place.path.empty()) {
      const StoreKind& kind = KindOf(group.place);
      return absl::InvalidArgumentError(
          absl::StrCat(group.parts.front().file, " does not say where it came from; say where it goes: ", FlagOf(kind),
                       " ", kind.backup.example, ", or leave it out with --only FILE"));
    }
    const SecretVariables variables{options.db_token_env, options.db_password_env};
    ABSL_RETURN_IF_ERROR(AddSecret(variables, environment, &group.place));
    if (group.place.secret.empty()) group.place.secret = SecretOfSystem(system, group.place, environment);
  }
  return absl::OkStatus();
}

// What is in the group's place now and will be replaced, for people; empty: nothing is.
absl::StatusOr<std::string> OccupantOf(const std::string& backup, const BackupGroup& group) {
  const StoreKind& kind = KindOf(group.place);
  if (kind.is_file) {
    ABSL_ASSIGN_OR_RETURN(const bool there, PathExists(group.place.path));
    if (!there) {
      ABSL_RETURN_IF_ERROR(CheckFolderOf(group.place.path));
      return "";
    }
  }
  return kind.backup.occupant(backup, group.place, group.parts);
}

absl::Status Ask(const RestoreOptions& options, const BackupManifest& manifest,
                 const std::vector<BackupGroup>& groups) {
  std::vector<std::string> old;
  std::string name;  // of the first of them
  for (const BackupGroup& group : groups) {
    ABSL_ASSIGN_OR_RETURN(const std::string occupant, OccupantOf(options.backup, group));
    if (occupant.empty()) continue;
    old.push_back(occupant);
    if (name.empty()) name = LastNameOf(group.place);
  }
  const std::string made = absl::FormatTime("%Y-%m-%d %H:%M:%S", manifest.made, absl::LocalTimeZone());
  std::vector<std::string> places;
  places.reserve(groups.size());
  for (const BackupGroup& group : groups) places.push_back(group.place.ToString());
  constexpr char kAdvice[] = "to go on, say --yes";
  const Consent consent = {options.yes, options.no_input};
  if (old.empty()) {
    return AskConsent(absl::StrCat("this makes ", absl::StrJoin(places, ", "), " as of ", made), kAdvice, consent);
  }
  return AskName(absl::StrCat("this replaces ", absl::StrJoin(old, ", "), " by what was there at ", made), name,
                 kAdvice, consent);
}

// Nothing is replaced under a job that fills a column there.
absl::StatusOr<std::vector<std::unique_ptr<TargetLock>>> LockPlaces(const RestoreOptions& options,
                                                                    const std::vector<BackupGroup>& groups) {
  const LockAsker asker = {.job = absl::StrCat("restore of ", AbsolutePath(options.backup)),
                           .note = [&options](const std::string& note) { Note(note, options.json); }};
  std::vector<std::unique_ptr<TargetLock>> locks;
  for (const BackupGroup& group : groups) {
    const StoreKind& kind = KindOf(group.place);
    if (kind.backup.lock == nullptr) continue;
    ABSL_ASSIGN_OR_RETURN(locks.emplace_back(), kind.backup.lock(group.place, asker));
  }
  return locks;
}

absl::Status CheckParts(const RestoreOptions& options, const std::vector<BackupGroup>& groups) {
  StageProgress progress(ProgressStyleOf(options.progress, options.quiet));
  int64_t checked = 0, bytes = 0;
  for (const BackupGroup& group : groups) {
    for (const BackupPart& part : group.parts) bytes += part.bytes;
  }
  for (const BackupGroup& group : groups) {
    for (const BackupPart& part : group.parts) {
      progress.Set("checking the backup", checked, bytes, StageUnit::kBytes);
      checked += part.bytes;
      // A system's own have no manifest; the store reads them once before it begins.
      if (part.hash.empty()) continue;
      ABSL_RETURN_IF_ERROR(CheckBackupPart(options.backup, part));
    }
  }
  return absl::OkStatus();
}

// Returns what else a user should know.
absl::StatusOr<std::string> RestoreGroup(const RestoreOptions& options, const BackupGroup& group) {
  StageProgress progress(ProgressStyleOf(options.progress, options.quiet));
  progress.At(PlaceName(group.place));
  // Until the store says how far it is, which some never do.
  progress.Set(kPuttingBack, 0, 0);
  const auto told = [&progress](absl::string_view stage, int64_t done, int64_t total, RestoreUnit unit) {
    progress.Set(stage, done, total, unit == RestoreUnit::kRows ? StageUnit::kRows : StageUnit::kBytes);
  };
  return KindOf(group.place).backup.restore(options.backup, group.place, group.parts, told);
}

absl::Status Restore(const RestoreOptions& options, const BackupManifest& manifest,
                     const std::vector<BackupGroup>& groups) {
  // All files first: nothing is replaced by the half of a backup.
  ABSL_RETURN_IF_ERROR(CheckParts(options, groups));
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::unique_ptr<TargetLock>> locks, LockPlaces(options, groups));
  ABSL_RETURN_IF_ERROR(Ask(options, manifest, groups));
  const StopSignals signals(
      {.command = "restore", .left = "run the same command again to complete it", .json = options.json});
  for (const BackupGroup& group : groups) {
    if (!options.quiet && !options.json) std::cerr << "writing " << group.place.ToString() << std::endl;
    ABSL_ASSIGN_OR_RETURN(const std::string note, RestoreGroup(options, group));
    if (options.json) {
      JsonLine line("restored");
      std::cout << line.Add("place", group.place.ToString()).Add("note", note).ToString() << "\n";
    } else if (!options.quiet) {
      std::cout << "restored " << group.place.ToString() << (note.empty() ? "" : "; ") << note << "\n";
    }
  }
  return absl::OkStatus();
}

// A folder without a manifest may be a backup that a system's own programs made.
std::optional<BackupManifest> FindOthersBackup(const std::string& dir, const std::string& only) {
  for (const StoreKind* const kind : StoreKinds()) {
    if (kind->backup.find_others == nullptr) continue;
    if (std::optional<BackupManifest> found = kind->backup.find_others(dir, only)) return found;
  }
  return std::nullopt;
}

}  // namespace

ExitCode RestoreCommand(const RestoreOptions& options, const Environment& process) {
  const auto fail = [&](const absl::Status& status) { return Fail("restore", status, options.json); };
  absl::StatusOr<BackupManifest> manifest = ReadBackupManifest(options.backup);
  if (absl::IsNotFound(manifest.status())) {
    if (std::optional<BackupManifest> others = FindOthersBackup(options.backup, options.only))
      manifest = *std::move(others);
  }
  if (!manifest.ok()) return fail(manifest.status());
  Environment environment = process;
  absl::Status read = AddEnvFile(
      {.system = manifest->system, .env_file = options.env_file, .no_env_file = options.no_env_file}, &environment);
  if (!read.ok()) return fail(read);
  absl::StatusOr<std::vector<BackupGroup>> groups = GroupsOf(*manifest, options);
  if (!groups.ok()) return fail(groups.status());
  absl::Status redirected = Redirect(options, manifest->system, environment, &*groups);
  if (!redirected.ok()) return fail(redirected);
  absl::Status trusted = CheckPlacesAreTrusted(*manifest, options, *groups);
  if (!trusted.ok()) return fail(trusted);
  if (absl::Status restored = Restore(options, *manifest, *groups); !restored.ok()) return fail(restored);
  if (options.json) {
    JsonLine line("summary");
    line.Add("backup", options.backup).Add("places", static_cast<int64_t>(groups->size())).Add("exit_code", 0);
    std::cout << line.ToString() << std::endl;
  }
  std::cout << std::flush;
  return kExitDone;
}

}  // namespace reembed
