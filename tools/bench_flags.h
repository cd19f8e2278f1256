// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_BENCH_FLAGS_H_
#define REEMBED_TOOLS_BENCH_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"

namespace CLI {
class App;
}

namespace reembed {

// Declares `reembed bench` and its subcommands. Parsing sets *chosen to what was asked for.
void AddBench(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_BENCH_FLAGS_H_
