// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RESOLVE_AUTOMEM_H_
#define REEMBED_TOOLS_RESOLVE_AUTOMEM_H_

#include <vector>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "tools/environment.h"
#include "tools/options.h"
#include "tools/presets.h"

namespace reembed {

// The place of a stream of kind automem: the graph that `database` names, with the points that the first --target of
// Qdrant or else the system's own variables name. A collection of another width is replaced as on_width=side does it,
// unless the target says otherwise.
// Errors: kInvalidArgument (no graph), kNotFound (nothing says where the points are).
absl::StatusOr<Location> AutomemSource(const SystemPreset& preset, const PresetStream& stream,
                                       const CommandOptions& options, const Environment& environment,
                                       const Location& database);

// The graph and the collection, for a backup. Errors: as AutomemSource, AddSecret.
absl::StatusOr<std::vector<Location>> AutomemPlaces(const SystemPreset& preset, const CommandOptions& options,
                                                    const Environment& environment, const Location& database);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_AUTOMEM_H_
