// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_STORE_FLAGS_H_
#define REEMBED_TOOLS_STORE_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"

namespace CLI {
class App;
}

namespace reembed {

// Declares the commands about stores, without a job: backup, restore and search. Parsing sets *chosen to what was asked
// for.
void AddStoreCommands(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_STORE_FLAGS_H_
