// SPDX-License-Identifier: Apache-2.0
// crash_test [--seed S] [--hours H] [GoogleTest's flags]
//   --seed S    one job for each store that --gtest_filter names, from this seed
//   --hours H   goes on so long, all stores together, in place of so many kills a store

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "gtest/gtest.h"
#include "tests/crash/crash_flags.h"

namespace reembed {
namespace {

CrashFlags& Flags() {
  static CrashFlags flags;
  return flags;
}

}  // namespace

const CrashFlags& TheCrashFlags() { return Flags(); }

}  // namespace reembed

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (i + 1 < argc && std::strcmp(argv[i], "--seed") == 0) {
      reembed::Flags().seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && std::strcmp(argv[i], "--hours") == 0) {
      reembed::Flags().hours = std::strtod(argv[++i], nullptr);
    } else {
      std::cerr << "usage: crash_test [--seed S] [--hours H] [--gtest_filter=...]; got " << argv[i] << "\n";
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
