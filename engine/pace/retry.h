// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_RETRY_H_
#define REEMBED_ENGINE_PACE_RETRY_H_

#include <random>

#include "absl/time/time.h"
#include "engine/pace/wait_hints.h"

namespace reembed {

struct RetryPolicy {
  // Sendings of one request, the first included, while nothing has ever been answered. A server that has worked is
  // given outage_limit() beyond that.
  int max_attempts = 8;
  // Doubled after each failure; also from one probe to the next in an outage, and half the longest time from one retry
  // to the next beyond the retry budget.
  absl::Duration first_backoff = absl::Seconds(0.5);
  absl::Duration max_wait = absl::Seconds(60);  // nothing waits longer, whatever the provider asks for

  // How long one request may go on failing, and how long an outage may last, before the run gives up: so many times
  // max_wait. 0, where somebody else can take the work: attempts alone count, and an outage is given up when it shows.
  int outage_waits = 10;
  absl::Duration outage_limit() const { return outage_waits * max_wait; }
};

// "Full jitter": uniform between 0 and first_backoff * 2^(attempts - 1), at most 16 times first_backoff and at most
// max_wait, so that nobody sleeps long while the server is well again. `attempts` is how often the request was sent
// already, from 1.
absl::Duration Backoff(const RetryPolicy& policy, int attempts, std::mt19937_64* random);

// A wait before sending again.
struct RetryWait {
  absl::Duration wait;
  absl::Duration named;  // what the provider asked for, above `wait` when the policy caps it; zero: it named none
};

// The named wait, capped and a little spread so that waiting requests do not leave together; without one, a backoff.
RetryWait WaitBeforeRetry(const RetryPolicy& policy, int attempts, const WaitHints& hints, absl::Time wall_clock,
                          std::mt19937_64* random);

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_RETRY_H_
