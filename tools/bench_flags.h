// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_BENCH_FLAGS_H_
#define REEMBED_TOOLS_BENCH_FLAGS_H_

#include <functional>

#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/usage.h"

namespace reembed {

// Declares `target`, `source`, `index` and `all` below `bench`; the one that was asked for becomes `*chosen`. `words`:
// of the command line.
void AddBenchOfStores(CLI::App* bench, Words words, std::function<ExitCode(const Environment&)>* chosen);

}  // namespace reembed

#endif  // REEMBED_TOOLS_BENCH_FLAGS_H_
