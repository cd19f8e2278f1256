// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/file/backup_folder.h"
#include "tools/backup_stores.h"
#include "tools/commands.h"
#include "tools/consent.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/presets.h"
#include "tools/resolve_preset.h"
#include "tools/signals.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// The parts that are asked for, by the place they came from.
absl::StatusOr<std::vector<BackupGroup>> GroupsOf(const BackupManifest& manifest, const RestoreOptions& options) {
  std::vector<BackupGroup> groups;
  std::string last_origin;
  std::vector<std::string> files;
  for (const BackupPart& part : manifest.parts) {
    files.push_back(part.file);
    if (!options.only.empty() && options.only != part.file) continue;
    if (FindBackupStore(part.kind) == nullptr) {
      return absl::UnimplementedError(absl::StrCat(part.file, ": is of the kind ", part.kind, ", and this program ",
                                                   "restores ", BackupSchemes(), "; a newer reembed may know it"));
    }
    if (groups.empty() || part.origin != last_origin || part.origin.empty()) {
      // AutoMem's own backups do not say where they were made; --db and --target must.
      ABSL_ASSIGN_OR_RETURN(Location place,
                            part.origin.empty() ? Location{.scheme = part.kind} : ParseLocation(part.origin));
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

// A manifest says where things go, and --yes is no look at it: then it must be as it was written, or what it names must
// be named.
absl::Status CheckPlacesAreTrusted(const BackupManifest& manifest, const RestoreOptions& options,
                                   const std::vector<BackupGroup>& groups) {
  if (!options.yes || manifest.doubt.empty()) return absl::OkStatus();
  for (const BackupGroup& group : groups) {
    if (group.named) continue;
    const bool is_database = group.place.scheme != "qdrant" && group.place.scheme != "memu";
    return absl::InvalidArgumentError(
        absl::StrCat(manifest.doubt, ", so with --yes its word is not taken for where things go; say where `",
                     group.parts.front().file, "` goes (it says ", group.place.ToString(), ") with ",
                     is_database ? "--db" : "--target", ", or leave --yes out and answer"));
  }
  return absl::OkStatus();
}

// Where the groups go when it is not where they came from.
absl::Status Redirect(const RestoreOptions& options, const std::string& system, const Environment& environment,
                      std::vector<BackupGroup>* groups) {
  if (!options.db.empty()) {
    ABSL_ASSIGN_OR_RETURN(Location place, ParseDatabase(options.db, environment));
    const auto is_database = [&](const BackupGroup& group) { return group.place.scheme == place.scheme; };
    const auto first = std::find_if(groups->begin(), groups->end(), is_database);
    if (first == groups->end()) {
      return absl::InvalidArgumentError(absl::StrCat("--db: the backup holds no ", place.scheme, " database"));
    }
    if (std::count_if(groups->begin(), groups->end(), is_database) > 1) {
      return absl::InvalidArgumentError("--db: the backup holds several databases; choose one with --only FILE");
    }
    first->place = place;
    first->named = true;
    // MemU looks for its vectors beside the database.
    for (BackupGroup& group : *groups) {
      if (group.place.scheme != "memu") continue;
      group.place.path = (fs::path(place.path).parent_path() / fs::path(group.place.path).filename()).string();
      group.named = true;
    }
  }
  for (const std::string& uri : options.targets) {
    ABSL_ASSIGN_OR_RETURN(Location place,
                          ParsePlace(uri, {options.db_token_env, options.db_password_env}, environment));
    const auto group = std::find_if(groups->begin(), groups->end(),
                                    [&](const BackupGroup& each) { return each.place.scheme == place.scheme; });
    if (group == groups->end()) {
      return absl::InvalidArgumentError(absl::StrCat("--target: the backup holds nothing of a ", place.scheme));
    }
    group->place = std::move(place);
    group->named = true;
  }
  for (BackupGroup& group : *groups) {
    if (group.place.path.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(group.parts.front().file, " does not say where it came from; say where it goes: ",
                       group.place.scheme == "qdrant" ? "--target qdrant:http://HOST:6333/memories"
                                                      : "--db falkordb://HOST:6379/memories",
                       ", or leave it out with --only FILE"));
    }
    const SecretVariables variables{options.db_token_env, options.db_password_env};
    ABSL_RETURN_IF_ERROR(AddSecret(variables, environment, &group.place));
    if (group.place.secret.empty()) group.place.secret = SecretOfSystem(system, group.place, environment);
  }
  return absl::OkStatus();
}

absl::Status Ask(const RestoreOptions& options, const BackupManifest& manifest,
                 const std::vector<BackupGroup>& groups) {
  std::vector<std::string> old;
  for (const BackupGroup& group : groups) {
    ABSL_ASSIGN_OR_RETURN(const std::string occupant,
                          FindBackupStore(group.place.scheme)->occupant(options.backup, group));
    if (!occupant.empty()) old.push_back(occupant);
  }
  const std::string made = absl::FormatTime("%Y-%m-%d %H:%M:%S", manifest.made, absl::LocalTimeZone());
  std::vector<std::string> places;
  for (const BackupGroup& group : groups) places.push_back(group.place.ToString());
  return AskConsent(old.empty()
                        ? absl::StrCat("this makes ", absl::StrJoin(places, ", "), " as of ", made)
                        : absl::StrCat("this replaces ", absl::StrJoin(old, ", "), " by what was there at ", made),
                    "to go on, say --yes", options.yes);
}

absl::Status Restore(const RestoreOptions& options, const BackupManifest& manifest,
                     const std::vector<BackupGroup>& groups) {
  // All files first: nothing is replaced by the half of a backup.
  for (const BackupGroup& group : groups) {
    for (const BackupPart& part : group.parts) {
      // AutoMem's own have no manifest; the store reads them once before it begins.
      if (part.hash.empty()) continue;
      ABSL_RETURN_IF_ERROR(CheckBackupPart(options.backup, part));
    }
  }
  ABSL_RETURN_IF_ERROR(Ask(options, manifest, groups));
  const StopSignals signals(
      {.command = "restore", .left = "give the same command again to complete it", .json = options.json});
  for (const BackupGroup& group : groups) {
    if (!options.quiet && !options.json) std::cerr << "writing " << group.place.ToString() << std::endl;
    ABSL_ASSIGN_OR_RETURN(const std::string note, FindBackupStore(group.place.scheme)->restore(options.backup, group));
    if (options.json) {
      JsonLine line("restored");
      std::cout << line.Add("place", group.place.ToString()).Add("note", note).ToString() << "\n";
    } else if (!options.quiet) {
      std::cout << "restored " << group.place.ToString() << (note.empty() ? "" : "; ") << note << "\n";
    }
  }
  return absl::OkStatus();
}

}  // namespace

ExitCode RestoreCommand(const RestoreOptions& options, const Environment& process) {
  const auto fail = [&](const absl::Status& status) { return Fail("restore", status, options.json); };
  absl::StatusOr<BackupManifest> manifest = ReadBackupManifest(options.backup);
  if (absl::IsNotFound(manifest.status())) {
    if (std::optional<BackupManifest> automem = FindAutomemBackup(options.backup, options.only))
      manifest = *std::move(automem);
  }
  if (!manifest.ok()) return fail(manifest.status());
  Environment environment = process;
  absl::Status read = AddEnvFile({.system = manifest->system, .env_file = options.env_file}, &environment);
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
