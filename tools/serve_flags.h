// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SERVE_FLAGS_H_
#define REEMBED_TOOLS_SERVE_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"

namespace CLI {
class App;
}

namespace reembed {

// Declares serve. Parsing sets *chosen to it.
void AddServe(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SERVE_FLAGS_H_
