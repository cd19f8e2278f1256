// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_STORE_FLAGS_H_
#define REEMBED_TOOLS_STORE_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/usage.h"

namespace CLI {
class App;
}

namespace reembed {

// Declares the commands about stores, without a job: backup, restore and search. Parsing sets *chosen to what was asked
// for. `words`: of the command line.
void AddStoreCommands(CLI::App* app, Words words, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_STORE_FLAGS_H_
