// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_CIRCUIT_H_
#define REEMBED_ENGINE_PACE_CIRCUIT_H_

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

struct CircuitOptions {
  int failures_to_open = 5;  // in a row, with no answer between them
  absl::Duration first_probe = absl::Seconds(0.5);
  absl::Duration longest_between_probes = absl::Seconds(1);
  absl::Duration give_up_after = absl::Minutes(10);
};

// Notices that a server which has worked answers nobody any more, and lets one request at a time find out when it is
// back: an outage costs a handful of requests, and ends for everybody at once. While nothing has ever been answered it
// stays closed: then each request has its own attempts, and the run fails soon. Pure logic; not thread-safe.
class Circuit {
 public:
  explicit Circuit(const CircuitOptions& options) : options_(options) {}

  // An answer came, be it a refusal: the server is there. Returns whether that ended an outage. Late answers to what
  // left before the outage do not end it.
  bool Answered(Moment left_at);

  // A request that left at `left_at` got no answer, or one of a broken server.
  void Failed(Moment left_at, Moment now);

  // `now`: requests may leave. Else an outage goes on: when the next probe may leave; infinite while one is under way.
  Moment NextStart(Moment now) const;

  // A request leaves; during an outage it is the probe.
  void Sent(Moment now);

  // The probe was cancelled or given up without an outcome.
  void ProbeLost(Moment left_at, Moment now);

  // For so long nobody has asked anything, which is no failure of the server.
  void Rested(absl::Duration rest) { failing_since_ += rest; }

  bool open() const { return open_; }

  // The outage has lasted too long.
  bool GivenUp(Moment now) const { return open_ && now - failing_since_ >= options_.give_up_after; }
  absl::Duration FailingFor(Moment now) const { return failures_ > 0 ? now - failing_since_ : absl::ZeroDuration(); }

 private:
  const CircuitOptions options_;
  bool ever_answered_ = false;
  bool open_ = false;
  int failures_ = 0;  // in a row
  Moment failing_since_;
  Moment opened_at_;
  Moment probe_left_ = -absl::InfiniteDuration();
  bool probe_out_ = false;
  Moment next_probe_;
  absl::Duration between_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_CIRCUIT_H_
