// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LAUNCH_LAUNCH_FLAGS_H_
#define REEMBED_TOOLS_LAUNCH_LAUNCH_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/usage.h"

namespace reembed {

// Declares `reembed launch` and its subcommands. `words`: of the command line. Parsing
// sets *chosen to what was asked for.
void AddLaunch(CLI::App* app, Words words, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LAUNCH_LAUNCH_FLAGS_H_
