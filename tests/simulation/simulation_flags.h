// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_SIMULATION_FLAGS_H_
#define REEMBED_TESTS_SIMULATION_SIMULATION_FLAGS_H_

#include <cstdint>
#include <optional>

namespace reembed {

// What the program was told besides GoogleTest's own flags.
struct SimulationFlags {
  std::optional<uint64_t> seed;  // the first; none: a random one
  std::optional<int64_t> seeds;  // how many; none: one if `seed` is given, else 2,000
};

// As main() read them.
const SimulationFlags& TheSimulationFlags();

}  // namespace reembed

#endif  // REEMBED_TESTS_SIMULATION_SIMULATION_FLAGS_H_
