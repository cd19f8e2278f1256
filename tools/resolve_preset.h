// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RESOLVE_PRESET_H_
#define REEMBED_TOOLS_RESOLVE_PRESET_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/store_kind.h"
#include "tools/environment.h"
#include "tools/options.h"
#include "tools/presets.h"

// The part of Resolve() that turns a preset into places and conditions.
namespace reembed {

// A database of the system, with its secret.
struct PresetDatabase {
  Location location;
  std::string password_variable;  // where the secret was, if it was in one of the preset's variables
};

// The database that the system's own variables name; nullopt: they name none.
absl::StatusOr<std::optional<PresetDatabase>> PresetServer(const SystemPreset& preset, const CommandOptions& options,
                                                           const Environment& environment);

// --db, else the preset's variables and paths. Adds notes for people.
// Errors: kNotFound (no database where the system keeps it).
absl::StatusOr<PresetDatabase> FindDatabase(const SystemPreset& preset, const CommandOptions& options,
                                            const Environment& environment, std::vector<std::string>* notes);

// The streams that --stream names; none named: those that the preset does by default; `all`: all. In the preset's
// order, and only those for that kind of database; without --stream those whose rows have no owner are left out, with a
// note, where --user or --agent asks for one. They live as long as `preset`. Errors: kInvalidArgument (no such
// stream: names the nearest; --recipe or --updated-at where none of them knows it).
absl::StatusOr<std::vector<const PresetStream*>> ChooseStreams(const SystemPreset& preset,
                                                               const CommandOptions& options, const Location& database,
                                                               std::vector<std::string>* notes);

// `--target memu:FILE` says where MemU's file of vectors is: takes it out of the options, for all streams that keep
// theirs there, and leaves out the others, with notes. Does nothing where the preset has no such stream.
// Errors: kInvalidArgument (two such files).
absl::Status TakeVectorsFile(const Location& database, const Environment& environment, CommandOptions* options,
                             SystemPreset* preset, std::vector<std::string>* notes);

// Where the rows of the stream are in the database. Errors: of a system whose rows are in several places, which are not
// all known.
absl::StatusOr<Location> PresetSource(const SystemPreset& preset, const PresetStream& stream,
                                      const CommandOptions& options, const Environment& environment, Location database);

// The file beside the database in which the system keeps vectors; nullopt: it has none.
std::optional<Location> VectorsFile(const SystemPreset& preset, const Location& database);

// The system's tables in a database of this kind, which may have those of other programs, too: `a,b`.
std::string PresetTables(const SystemPreset& preset, const StoreKind& kind);

// All places of a system whose rows are in several, for a backup; nullopt: they are in the database.
// Errors: as PresetSource.
absl::StatusOr<std::optional<std::vector<Location>>> PresetPlaces(const SystemPreset& preset,
                                                                  const CommandOptions& options,
                                                                  const Environment& environment,
                                                                  const Location& database);

// The SQL condition for --user and --agent. Errors: kInvalidArgument (the stream has no such column).
absl::StatusOr<std::string> OwnerCondition(const SystemPreset& preset, const PresetStream& stream,
                                           const CommandOptions& options);

// Puts the variables of files behind the process's own: of --env-file, else of those that the job's system reads, else
// of .env. Errors: kNotFound, kInvalidArgument (names the line).
absl::Status AddEnvFile(const CommandOptions& options, Environment* environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_PRESET_H_
