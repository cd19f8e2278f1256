// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_PACER_H_
#define REEMBED_ENGINE_PACE_PACER_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "engine/pace/circuit.h"
#include "engine/pace/concurrency_limit.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/retry.h"
#include "engine/pace/retry_budget.h"
#include "engine/pace/run_control.h"

namespace reembed {

struct PacerOptions {
  RateLimit limit;
  int concurrency = 32;            // at most so many in the air
  bool fixed_concurrency = false;  // always as many as may be: to measure a server, not to use it well
  RetryPolicy retry;
  SharedQuota* shared_quota = nullptr;  // see RateLimiter
  double counts_as = 1;                 // requests of a wished rate that each of ours counts as
};

// Why a request leaves.
enum class SendReason {
  kFirst,    // its texts have not been asked for yet, or a refusal tells to ask otherwise
  kRefused,  // the rate limit or an outage held it back: sending it again is no additional load
  kFailed,   // something broke: paid from the retry budget, or else slow
  kHedge,    // its twin takes long
};

// How it ended.
enum class SendOutcome {
  kOk,
  kAnswered,  // the server is well; the request was not good
  kRefused,   // rate limit
  kFailed,    // no answer, or that of a broken or overloaded server
  kDropped,   // we ended it ourselves
};

// When may a request leave? All reasons for waiting in one place: what people wish (RunControl), quota and pauses
// (RateLimiter), requests in the air (ConcurrencyLimit), outages (Circuit), and the share of requests that are sent
// again (RetryBudget, RetryPace). Pure logic, with the time as a parameter. Not thread-safe.
class Pacer {
 public:
  explicit Pacer(const PacerOptions& options);

  // `now`: it may leave, and counts as under way until Ended(). A later moment: ask again then. Infinite: ask again
  // when a request has ended, as there is one under way, or behind the next Obey().
  Moment TryStart(SendReason reason, int64_t tokens, Moment now, Departure* departure);

  struct Change {
    bool outage_ended = false;  // requests that wait for a retry may leave at once
    Moment outage_began;        // if so: what has failed since then failed for the outage, and may leave as kRefused
  };
  // Every request that was started ends once.
  Change Ended(const Departure& departure, SendOutcome outcome, Moment now);

  // Besides Ended(kRefused): how long to wait, and whether the provider itself named that.
  void Refused(const Departure& departure, absl::Duration wait, bool wait_is_named, Moment now) {
    limiter_.Refused(departure, wait, wait_is_named, now);
  }
  // A broken or overloaded server asked for a wait.
  void Pause(absl::Duration wait, Moment now) { limiter_.Pause(wait, now); }
  void Learn(const QuotaReport& report, const Departure& departure, Moment now) {
    limiter_.Learn(report, departure, now);
  }
  void Correct(int64_t estimated, int64_t charged) { limiter_.Correct(estimated, charged); }

  // What is wished holds from now on: whoever waits asks again.
  void Obey(const PaceWish& wish, Moment now);
  bool paused() const { return paused_since_.has_value(); }

  // During an outage the next request finds out whether it is over.
  bool probing() const { return circuit_.open(); }
  // Nothing has been answered for RetryPolicy::outage_limit(), although it had been before.
  bool GivenUp(Moment now) const { return circuit_.GivenUp(now); }
  absl::Duration FailingFor(Moment now) const { return circuit_.FailingFor(now); }
  // Some request was neither refused nor failed.
  bool ever_well() const { return ever_well_; }

  // For how long the quota, or a pause that the provider asked for, holds back a request of so many tokens that nothing
  // else does; zero: it holds back none.
  absl::Duration QuotaWait(int64_t tokens, Moment now) const;
  const RateLimiter& limiter() const { return limiter_; }

  int in_air() const { return in_air_; }
  int concurrency() const { return fixed_concurrency_ > 0 ? fixed_concurrency_ : concurrency_.limit(); }
  absl::Duration latency() const { return concurrency_.latency(); }

 private:
  RateLimiter limiter_;
  ConcurrencyLimit concurrency_;
  int fixed_concurrency_;  // 0: concurrency_ decides
  const double counts_as_;
  std::optional<Moment> paused_since_;
  Circuit circuit_;
  RetryBudget retries_;
  RetryPace slow_retries_;  // beyond retries_
  RetryBudget hedges_;
  int in_air_ = 0;
  bool ever_well_ = false;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_PACER_H_
