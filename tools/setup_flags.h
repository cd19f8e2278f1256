// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SETUP_FLAGS_H_
#define REEMBED_TOOLS_SETUP_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/usage.h"

namespace CLI {
class App;
}

namespace reembed {

// Declares what helps to set the command up and to know it: systems, demo, doctor, paths, completion, config, help and
// version. Parsing sets *chosen to what was asked for. `words`: as given; they outlive the app.
void AddSetUp(CLI::App* app, Words words, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SETUP_FLAGS_H_
