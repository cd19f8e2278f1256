// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_SIMULATION_H_
#define REEMBED_TESTS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/simulation/parts.h"

// One job in one deterministic program: the command's own EndpointPool, ApiClient, RequestFlow with pacer, retries,
// circuit and spend cap, RunPipeline, RowReader, SinkWriter and JobStore with its files, as they are, on virtual
// threads and clocks (virtual_threads.h). Simulated are: the servers and the wire to them (world.h in place of
// io/net's HttpLoop), targets (parts.h), the disk's syncs, room and loss of power, signals, kills, and oneTBB's flow
// graph, in place of which pipeline.cc is compiled against graph/. The source is in memory.
namespace reembed {

struct Simulated {
  struct Broken {
    std::string invariant;
    std::string message;  // with the seed and the virtual time
  };
  std::vector<Broken> broken;
  absl::Duration time;  // virtual
  int lives = 0;        // runs of the command
  int kills = 0;
  int64_t requests = 0;
  uint64_t print = 0;  // of all that was seen: the same for the same seed
};

Simulated Simulate(uint64_t seed, Plant plant = Plant::kNone);

}  // namespace reembed

#endif  // REEMBED_TESTS_SIMULATION_SIMULATION_H_
