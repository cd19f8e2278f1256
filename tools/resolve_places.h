// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RESOLVE_PLACES_H_
#define REEMBED_TOOLS_RESOLVE_PLACES_H_

#include <optional>

#include "absl/status/status.h"
#include "tools/environment.h"
#include "tools/options.h"
#include "tools/presets.h"
#include "tools/resolve.h"
#include "tools/resolve_preset.h"

namespace reembed {

// Where the rows of a job are and where their vectors go: fills in the job's name, source and targets, and whether it
// writes in place. `stream` and `database`: of the preset, if there is one; `before`: the job of the stream before this
// one, or null. Errors: kInvalidArgument (an address is wrong or missing; two targets are one; a target would replace
// the texts), and those of the catalog of a preset's database.
absl::Status ResolvePlaces(const CommandOptions& options, const std::optional<SystemPreset>& preset,
                           const PresetStream* stream, const PresetDatabase& database, const Environment& environment,
                           const ResolvedJob* before, ResolvedJob* job);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_PLACES_H_
