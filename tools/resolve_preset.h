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

// --db, else the preset's variables and paths; of a system whose streams are in no database, a place without a scheme.
// Adds notes for people.
// Errors: kNotFound (no database where the system keeps it); kInvalidArgument (--db for a system without one).
absl::StatusOr<PresetDatabase> FindDatabase(const SystemPreset& preset, const CommandOptions& options,
                                            const Environment& environment, std::vector<std::string>* notes);

// The streams that --stream names; none named: those that the preset does by default; `all`: all. In the preset's
// order, and only those for that kind of database; without --stream those whose rows have no owner are left out, with a
// note, where --user or --agent asks for one. They live as long as `preset`. Errors: kInvalidArgument (no such
// stream: names the nearest; none for that database; --recipe or --updated-at where none of them knows it).
absl::StatusOr<std::vector<const PresetStream*>> ChooseStreams(const SystemPreset& preset,
                                                               const CommandOptions& options, const Location& database,
                                                               std::vector<std::string>* notes);

// A --target of the same scheme as a stream's own target takes its place in all streams that have such a one. Takes it
// out of the options, and leaves out the streams of that database that have none, with notes.
// Errors: kInvalidArgument (two such places).
absl::Status TakeNamedTargets(const Location& database, const Environment& environment, CommandOptions* options,
                              SystemPreset* preset, std::vector<std::string>* notes);

// The same for a backup, which leaves out nothing.
void NameTargets(const std::vector<std::string>& targets, SystemPreset* preset);

// Where the rows of a stream are, and where their vectors go.
struct StreamPlaces {
  Location source;
  std::optional<Location> target;  // beside what the source itself says; also where the source has it as {target}
};

// Errors: of the URIs; kNotFound (a variable that they need is not set: names it).
absl::StatusOr<StreamPlaces> PlacesOf(const SystemPreset& preset, const PresetStream& stream,
                                      const CommandOptions& options, const Environment& environment,
                                      const Location& database);

// The tables of the preset's streams; of those only that are for a database of this kind, where it is given.
std::vector<std::string> PresetTables(const SystemPreset& preset, const Environment& environment,
                                      const StoreKind* kind = nullptr);

// All places of a system with this database, for a backup: rows before vectors, as a vector without its row does no
// harm. Files only that are there. Errors: as PlacesOf.
absl::StatusOr<std::vector<Location>> PresetPlaces(const SystemPreset& preset, const CommandOptions& options,
                                                   const Environment& environment, const Location& database);

// The condition for --user and --agent in the words of a kind of store. Errors: kInvalidArgument (the stream has no
// such field).
absl::StatusOr<std::string> OwnerCondition(const SystemPreset& preset, const PresetStream& stream,
                                           const CommandOptions& options, const StoreKind& kind);

// Puts the variables of files behind the process's own: of --env-file, else of those that the job's system reads, else
// of .env. Precondition: what the job's file says is in `options`. Errors: kNotFound, kInvalidArgument (names the
// line).
absl::Status AddEnvFile(const CommandOptions& options, Environment* environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_PRESET_H_
