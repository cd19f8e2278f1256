// SPDX-License-Identifier: Apache-2.0
// simulation_test [--seed S] [--seeds N] [GoogleTest's flags]
//   --seed S    this one alone, or the first of N
//   --seeds N   so many, in place of 2,000

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "gtest/gtest.h"
#include "tests/simulation/simulation_flags.h"

namespace reembed {
namespace {

SimulationFlags& Flags() {
  static SimulationFlags flags;
  return flags;
}

}  // namespace

const SimulationFlags& TheSimulationFlags() { return Flags(); }

}  // namespace reembed

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (i + 1 < argc && std::strcmp(argv[i], "--seed") == 0) {
      reembed::Flags().seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && std::strcmp(argv[i], "--seeds") == 0) {
      reembed::Flags().seeds = std::strtoll(argv[++i], nullptr, 10);
    } else {
      std::cerr << "usage: simulation_test [--seed S] [--seeds N] [--gtest_filter=...]; got " << argv[i] << "\n";
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
