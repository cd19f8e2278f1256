// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RESOLVE_LAYOUT_H_
#define REEMBED_TOOLS_RESOLVE_LAYOUT_H_

#include "absl/status/status.h"
#include "engine/location.h"
#include "tools/options.h"
#include "tools/presets.h"
#include "tools/resolve.h"

// The part of Resolve() for presets of systems whose tables may be laid out in one of several ways.
namespace reembed {

// Looks at the table of job->source and names its layout in a note. Where no --dimensions says otherwise the job gets
// the width that is there, or else that of the stream `before` it, if there is one, and the preset's model for it;
// another width goes into a new column beside the old one, with an index of its own. A table that is not there is left
// to others to find. Errors: of the database.
absl::Status FitPresetToTable(const SystemPreset& preset, const PresetStream& stream, const CommandOptions& options,
                              const ResolvedJob* before, ResolvedJob* job);

// Makes a location that names a database into the one of the table that gets the rows of `source`. What it says already
// stays.
void AddInsertParameters(const PresetInsert& insert, const Location& source, Location* target);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_LAYOUT_H_
