// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_CRASH_CRASH_FLAGS_H_
#define REEMBED_TESTS_CRASH_CRASH_FLAGS_H_

#include <cstdint>
#include <optional>

namespace reembed {

// What the program was told besides GoogleTest's own flags.
struct CrashFlags {
  std::optional<uint64_t> seed;  // of the only job to run; none: as many jobs as the kills take, from a random seed
  double hours = 0;              // 0: so many kills as a test has by itself
};

// As main() read them.
const CrashFlags& TheCrashFlags();

}  // namespace reembed

#endif  // REEMBED_TESTS_CRASH_CRASH_FLAGS_H_
