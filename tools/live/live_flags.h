// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_LIVE_FLAGS_H_
#define REEMBED_TOOLS_LIVE_LIVE_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"

namespace CLI {
class App;
}

namespace reembed {

// Declares what watches and steers a run: ctl, dashboard and report. Parsing sets *chosen to what was asked for.
void AddLive(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_LIVE_FLAGS_H_
