// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PRESET_VARIABLES_H_
#define REEMBED_TOOLS_PRESET_VARIABLES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/environment.h"
#include "tools/options.h"
#include "tools/presets.h"
#include "tools/resolve.h"

// What a preset takes from the variables that its system's own programs read.
namespace reembed {

// Makes the preset's model that of one of its providers: the one that --embedder or its variable names, else the first
// whose variables are set. Also its width, from the variable of that. Does nothing for presets without providers.
// Errors: kInvalidArgument (no such provider, one that is refused, a width that is no number); kUnauthenticated (none
// is set up, and a key is wanted: names their variables).
absl::Status ChooseProvider(const CommandOptions& options, const Environment& environment, KeyNeed key_need,
                            SystemPreset* preset);

// The files of variables that the system reads, those that are there, in its order. Their names may be made of
// variables, see uri_template.h.
std::vector<std::string> EnvFilesOf(const SystemPreset& preset, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PRESET_VARIABLES_H_
