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

// Declares `target`, `source`, `index` and `all` below `bench`; the one that was asked for becomes `*chosen`.
void AddBenchOfStores(CLI::App* bench, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_BENCH_FLAGS_H_
