// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_SCENARIO_H_
#define REEMBED_TESTS_SIMULATION_SCENARIO_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/batch.h"
#include "engine/pace/rate_limiter.h"
#include "engine/vector_sink.h"
#include "tests/fakes/memory_parts.h"

// What happens in one simulation, drawn from its seed.
namespace reembed {

inline constexpr int kSimulatedDim = 8;
inline constexpr int kTokensPerText = 3;

// A time in which an endpoint misbehaves: `share` of what arrives meanwhile is treated so.
struct BadTime {
  enum class Kind { kRefused, kUnavailable, kBroken, kSilent, kAnswerLost, kOddAnswer };
  Kind kind = Kind::kUnavailable;
  Moment from;
  Moment to;
  double share = 1;
};

struct EndpointScript {
  absl::Duration latency;
  absl::Duration jitter;
  RateLimit limit;       // as the user gives it; 0: none
  double real_rate = 0;  // requests a minute that the server takes, which may be fewer; 0: any number
  int retry_after = 0;   // seconds that its refusals name; 0: none
  int concurrency = 4;
  std::vector<BadTime> bad_times;
};

struct SinkScript {
  RowOrder order = RowOrder::kAny;
  absl::Duration write_time;
  Moment fails_from;  // until fails_to
  Moment fails_to;
};

struct SimulatedEvent {
  enum class Kind { kKill, kPowerLoss, kKillAtPoint, kInterrupt, kInterruptTwice, kWallClockJumps, kProcessStopped };
  Kind kind = Kind::kKill;
  Moment at;
  absl::Duration by;  // of jumps, and between two interrupts
  int point = 0;      // kKillAtPoint: at so many kill points after `at`
};

struct Scenario {
  uint64_t seed = 0;
  std::vector<MemoryRow> rows;
  std::set<std::string> refused_texts;  // that the API does not take
  BatchLimits batch;
  int batches_in_flight = 4;
  std::vector<EndpointScript> endpoints;
  std::vector<SinkScript> sinks;
  std::vector<SimulatedEvent> events;  // by time
  absl::Duration timeout;              // of a request
  absl::Duration first_backoff;
  bool hedge = false;
  double usd_per_token = 1e-6;
  double cap_usd = 0;        // 0: none
  absl::Duration sync_time;  // of the disk
  Moment disk_full_from;     // until disk_full_to
  Moment disk_full_to;
  absl::Duration flush_interval;
};

Scenario DrawScenario(uint64_t seed);

}  // namespace reembed

#endif  // REEMBED_TESTS_SIMULATION_SCENARIO_H_
