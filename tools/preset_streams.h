// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PRESET_STREAMS_H_
#define REEMBED_TOOLS_PRESET_STREAMS_H_

#include <toml++/toml.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/presets.h"

namespace reembed {

// The streams of a preset: its [[stream]] tables or, in the form of versions before 0.3, [source] and [target]; what
// these say by `kind` becomes the template that it meant. A note for people goes to *notes where the streams have that
// form. `file`: for messages. Errors: kInvalidArgument (names file, line and what is wrong or unknown).
absl::StatusOr<std::vector<PresetStream>> ParseStreams(const toml::table& preset, const std::string& file,
                                                       std::vector<std::string>* notes);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PRESET_STREAMS_H_
