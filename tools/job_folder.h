// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_JOB_FOLDER_H_
#define REEMBED_TOOLS_JOB_FOLDER_H_

#include <string>

#include "tools/environment.h"
#include "tools/options.h"

// Which folder a job is in. Where jobs are in general, resolve.h says.
namespace reembed {

struct ResolvedJob;

// The directory of the whole job; `first`: its first stream. With streams it depends on what they share, so that
// another choice of them goes on in the same one. Whether a run is for all rows does not matter, but a job that earlier
// programs began goes on where it is. Empty: nobody has said one, and there is no place for jobs.
std::string DirectoryOf(const CommandOptions& options, const ResolvedJob& first, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_JOB_FOLDER_H_
