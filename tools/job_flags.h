// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_JOB_FLAGS_H_
#define REEMBED_TOOLS_JOB_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"

namespace CLI {
class App;
}

namespace reembed {

// Declares the commands about a job that is there: verify, status, those of live_flags.h, rollback, retry-rejects,
// publish and merge. Parsing sets *chosen to what was asked for.
void AddJobCommands(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_JOB_FLAGS_H_
