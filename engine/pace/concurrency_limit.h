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
  int max = 32;     // what the user allows
  int initial = 2;  // before the first answer, which may bring news of a small quota
};

// How many requests should be in the air, found while working. It wants the fewest that give the whole throughput:
// beyond that knee, more requests only wait in the server's queue.
//
//   ramp    one and a half more for each answer, until all but one of the last twelve answers took twice as long as the
//           first ones. A few slow answers say nothing: latencies differ by much without any queue
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
  absl::Duration latency() const { return absl::Seconds(latency_); }

 private:
  enum class Phase { kRamp, kSteady, kRegain };
  enum class Probe { kNone, kUp, kDown };

  // Answers under one limit, from the first on whose request left under it.
  struct Epoch {
    Moment limit_since;
    bool begun = false;
    int answers = 0;
    int full = 0;
    double weight = 0;
    double seconds = 0;  // of latency, summed up
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
  double ramp_to_;
  double latency_ = 0;  // seconds, fading
  int64_t answers_ = 0;
  double floor_ = 0;                       // seconds: the lowest mean latency, as far as known; 0: not yet
  double ramp_base_ = 0;                   // seconds: the latency at the foot of the ramp; 0: not yet known
  std::array<double, 12> recent_ = {};     // seconds, of a ramp: its last answers, at recent_answers_ % size
  std::array<Moment, 12> recent_at_ = {};  // when they came
  size_t recent_answers_ = 0;              // of the ramp
  uint32_t failures_ = 0;                  // of the last answers, one bit each
  Moment decreased_at_ = -absl::InfiniteDuration();
  double regain_from_ = 0;
  double regain_to_ = 0;
  Moment trouble_began_ = -absl::InfiniteDuration();
  double before_trouble_ = 0;
  bool after_outage_ = false;  // the ramp leads to where it was before

  Epoch epoch_;
  Probe probe_ = Probe::kNone;
  double base_limit_ = 0;
  double base_throughput_ = 0;  // weight per second; 0: not measured
  double base_latency_ = 0;
  struct Hold {  // grows while probes in this direction gain nothing
    absl::Duration time;
    Moment until;
  };
  Hold up_;
  Hold down_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_CONCURRENCY_LIMIT_H_
