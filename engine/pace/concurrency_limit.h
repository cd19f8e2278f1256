// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_CONCURRENCY_LIMIT_H_
#define REEMBED_ENGINE_PACE_CONCURRENCY_LIMIT_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

struct ConcurrencyOptions {
  int max = 32;         // what the user allows
  int initial = 2;      // before the first answer, which may bring news of a small quota
  int after_first = 0;  // at least so many from the first answer on
};

// How many requests should be in the air, found while working. It wants the fewest that give the whole throughput:
// beyond that knee, more requests only wait in the server's queue.
//
//   ramp    one and a half more for each answer, four times as many if the first ones come together, until all but one
//           of twelve took twice as long as the first. A few slow ones say nothing: latencies differ without any queue
//           Where answers take more than 5 s a mean that has doubled is enough, and one more for each answer
//   steady  now and then a third fewer or half as many more for a moment; what has more throughput, or the same with
//           fewer, stays. Throughput decides, not latency alone, as latency varies for many reasons
//   regain  after refusals and broken connections: 0.7 times as many, then slowly back
//
// Latencies below 25 ms are never taken for a queue: waiting there harms nobody, and we would mostly measure ourselves.
// Pure logic; not thread-safe.
class ConcurrencyLimit {
 public:
  explicit ConcurrencyLimit(const ConcurrencyOptions& options);

  int limit() const { return static_cast<int>(limit_); }

  // A request that left at `left_at` was answered well. `weight` is its size in any unit; `full`: as many requests as
  // allowed were in the air, so that the limit, and not a lack of work, set the pace.
  void Answered(Moment left_at, int64_t weight, bool full, Moment now);

  // It failed as requests do when a server has too much to do.
  void Overloaded(Moment left_at, Moment now);

  // The user allows another maximum from now on. A higher one is tried at once.
  void SetMax(int max, Moment now);
  int max() const { return options_.max; }

  // While nobody is answered nothing can be learned; then the way back is a ramp to where it was.
  void OutageEnded(Moment now);

  // Of the last answers, on average; zero before the first.
  absl::Duration latency() const { return absl::Seconds(latency_.mean); }

 private:
  enum class Phase { kRamp, kSteady, kRegain };
  enum class Probe { kNone, kUp, kDown };

  // What is known of all answers, whatever the limit was. In seconds.
  struct Latency {
    double mean = 0;  // fading
    int64_t answers = 0;
    double lowest_mean = 0;  // as far as known; 0: not yet
  };

  // Answers under one limit, from the first on whose request left under it.
  struct Epoch {
    Moment limit_since;
    bool begun = false;
    int answers = 0;
    int full = 0;
    double weight = 0;
    double seconds = 0;  // of latency, summed up
  };

  // Of kRamp; begun anew with each ramp.
  struct RampState {
    double to = 0;              // the limit that it leads to
    double base = 0;            // seconds: the latency at its foot; 0: not yet known
    bool after_outage = false;  // it leads to where the limit was before
    size_t answers = 0;
    std::array<double, 12> latencies = {};  // seconds, of its last answers, at answers % size
    std::array<Moment, 12> times = {};      // when they came
  };

  struct Hold {  // grows while probes in this direction gain nothing
    absl::Duration time;
    Moment until;
  };

  // Of kSteady; Settle begins it anew. `throughput` and `latency` are of one epoch under `limit`, and belong together:
  // probes are compared with them.
  struct SteadyState {
    double limit = 0;       // where it is but for probes
    double throughput = 0;  // weight per second; 0: not measured
    double latency = 0;     // seconds
    Probe probe = Probe::kNone;
    Hold up;
    Hold down;
  };

  // Of kRegain.
  struct RegainState {
    double from = 0;
    double to = 0;
  };

  // The overloads of late; outlives the phases.
  struct Trouble {
    uint32_t failures = 0;  // of the last answers, one bit each
    Moment decreased_at = -absl::InfiniteDuration();
    Moment began = -absl::InfiniteDuration();
    double limit_before = 0;
  };

  void Ramp(double latency, bool full, Moment now);
  void BeginRamp(double to, double base);
  void Regain(Moment now);
  void Measure(Moment left_at, double latency, int64_t weight, bool full, Moment now);
  void Judge(double throughput, double latency, Moment now);
  bool MayHaveQueue() const;
  void ProbeFailed(Moment now);
  void StartProbe(Moment now);
  void EndProbe(double throughput, double latency, Moment now);
  void Settle(double limit, Moment now);
  void SetLimit(double limit, Moment now);

  ConcurrencyOptions options_;
  Phase phase_ = Phase::kRamp;
  double limit_;
  Epoch epoch_;  // under limit_
  Latency latency_;
  Trouble trouble_;
  RampState ramp_;
  SteadyState steady_;
  RegainState regain_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_CONCURRENCY_LIMIT_H_
