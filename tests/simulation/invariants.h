// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_INVARIANTS_H_
#define REEMBED_TESTS_SIMULATION_INVARIANTS_H_

#include <optional>
#include <string>

#include "absl/types/span.h"
#include "tests/simulation/world.h"

namespace reembed {

struct Violation {
  Moment at;
  std::string what;
};

// What must be true of every simulation, whatever went wrong in it: judged by what its World has seen.
struct Invariant {
  const char* name;
  const char* says;
  std::optional<Violation> (*broken)(const World& world);
};

absl::Span<const Invariant> Invariants();

// How long a run may go on in these scenarios before nobody believes that it ends.
inline constexpr absl::Duration kLongestLife = absl::Hours(3);

}  // namespace reembed

#endif  // REEMBED_TESTS_SIMULATION_INVARIANTS_H_
