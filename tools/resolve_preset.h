#ifndef REEMBED_TOOLS_RESOLVE_PRESET_H_
#define REEMBED_TOOLS_RESOLVE_PRESET_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "tools/environment.h"
#include "tools/options.h"
#include "tools/presets.h"

// The part of Resolve() that turns a preset into places and conditions.
namespace reembed {

// The streams that --stream names; none named: those that the preset does by default; `all`: all. In the preset's
// order. They live as long as `preset`. Errors: kInvalidArgument (no such stream: names the nearest; --recipe or
// --updated-at where none of them knows it).
absl::StatusOr<std::vector<const PresetStream*>> ChooseStreams(const SystemPreset& preset,
                                                               const CommandOptions& options);

// Where the rows of the stream are: --db, else the preset's variables and paths. Adds notes for people.
// Errors: kNotFound (no database where the system keeps it).
absl::StatusOr<Location> PresetSource(const SystemPreset& preset, const PresetStream& stream,
                                      const CommandOptions& options, const Environment& environment,
                                      std::vector<std::string>* notes);

// The SQL condition for --user and --agent. Errors: kInvalidArgument (the stream has no such column).
absl::StatusOr<std::string> OwnerCondition(const SystemPreset& preset, const PresetStream& stream,
                                           const CommandOptions& options);

// Puts the variables of files behind the process's own: of --env-file, else of those that the job's system reads, else
// of .env. Errors: kNotFound, kInvalidArgument (names the line).
absl::Status AddEnvFile(const CommandOptions& options, Environment* environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_PRESET_H_
