// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_RATE_LIMITER_H_
#define REEMBED_ENGINE_PACE_RATE_LIMITER_H_

#include <cstdint>

#include "absl/time/time.h"

namespace reembed {

// A moment of the monotonic clock, which no change of the wall clock moves: time since an unspecified start.
using Moment = absl::Duration;

class SharedQuota;

// The monotonic clock.
Moment MonotonicNow();

// The quota as the user gives it; what the provider's headers say may only narrow it.
struct RateLimit {
  double requests_per_minute = 0;  // 0: not given
  double tokens_per_minute = 0;    // 0: not given
  // How much unused quota is kept for later. Enough to make up for a late timer; small, because some providers count
  // in windows of a second (Azure: 1 s or 10 s).
  absl::Duration burst = absl::Milliseconds(250);
};

// What the headers of one reply say about the quota. Source: x-ratelimit-limit-* and x-ratelimit-remaining-* of
// OpenAI's rate limit guide, June 2026. x-ratelimit-reset-* is the time until the quota is whole again: not a wait.
struct QuotaReport {
  double limit_requests = 0;       // per minute; <= 0: not said (Azure has sent -1)
  double remaining_requests = -1;  // < 0: not said
  double limit_tokens = 0;
  double remaining_tokens = -1;
};

// A request that left: when, and how much had been sent until then, itself included. It tells what has been sent
// since, when its reply comes.
struct Departure {
  Moment at = -absl::InfiniteDuration();
  int64_t tokens = 0;  // its own
  int64_t sent_requests = 0;
  int64_t sent_tokens = 0;
};

// Says when a request may leave, and never waits: no thread, no clock, no sleep, no lock. Three buckets that flow full
// evenly: requests, tokens, and a rate that refusals teach where nobody names a limit.
//
// The headers feed forward: when they show less quota than our own bucket has, ours is lowered, so that we slow down
// before the first refusal. They never raise it, as they lag behind and may be somebody else's good luck.
//
// With a SharedQuota the first two buckets are there, for all who use it, unless SetGiven() narrows our own share: what
// replies say of limits and refusals is told to it, and what they say is left tells nothing, as nobody knows what the
// others have sent since.
class RateLimiter {
 public:
  // `shared`: borrowed; null: the quota is ours alone.
  explicit RateLimiter(const RateLimit& limit, SharedQuota* shared = nullptr);

  // `now`: a request of so many model tokens may leave; its share is taken, and *departure is set. A later moment: ask
  // again then; nothing is taken. A request larger than a burst may leave when the bucket is full; the next ones pay.
  Moment TryStart(int64_t tokens, Moment now, Departure* departure);

  // From now on the user gives these; 0: none. What a provider has said still narrows them.
  void SetGiven(double requests_per_minute, double tokens_per_minute, Moment now);
  double given_requests_per_minute() const { return requests_.given * 60; }
  double given_tokens_per_minute() const { return tokens_.given * 60; }

  // The provider counted other tokens than we had estimated: the difference is given back, or is owed.
  void Correct(int64_t estimated, int64_t charged);

  // A reply's headers. Limits that are not said stay as they were; they may change while running.
  void Learn(const QuotaReport& said, const Departure& departure, Moment now);

  // The provider refused for its rate limit. Nothing leaves before now + wait. Refusals of requests that had left
  // before a pause began belong to the same burst: they prolong it only if they name a wait themselves.
  // The first of a burst also lowers the rate, at most every ten seconds unless nearly all is refused: by half where
  // no limit is known, by a tenth where one is.
  void Refused(const Departure& departure, absl::Duration wait, bool wait_is_named, Moment now);

  // The provider took a request: a lowered rate rises slowly again.
  void Accepted(Moment now);

  // Nothing leaves before now + wait, for another reason than the rate.
  void Pause(absl::Duration wait, Moment now);

  // When a request of so many tokens may leave, by what is known now. Takes nothing.
  Moment NextStart(int64_t tokens, Moment now) const;

  // The quota as far as somebody has named it; 0: nobody has.
  double requests_per_minute() const;
  double tokens_per_minute() const;

  Moment PausedUntil() const { return paused_until_; }
  // Whether the user or a header has named a limit.
  bool knows_limits() const { return limits_known_since_ < absl::InfiniteDuration(); }
  // Bursts of refusals so far.
  int64_t refusal_bursts() const { return refusal_bursts_; }

 private:
  struct Bucket {
    double given = 0;       // per second; 0: not given
    double said = 0;        // likewise, by the provider
    double per_second = 0;  // 0: unlimited
    double capacity = 0;
    double level = 0;  // may be negative: owed
    Moment at;         // when `level` was true

    void Flow(Moment now);
    void SetRate(double rate, absl::Duration burst);
    // By what is given and said.
    void Narrow(Moment now, absl::Duration burst);
    absl::Duration TimeTo(double amount) const;
  };

  void LearnOne(double limit, double remaining, double sent_since, double amount, Moment left_at, Moment now,
                Bucket* bucket) const;
  double SendRate(Moment now) const;
  Moment NextOwnStart(int64_t tokens, Moment now) const;

  const absl::Duration burst_;
  SharedQuota* const shared_;
  Bucket requests_;
  Bucket tokens_;
  Bucket found_;        // requests: what refusals taught
  double ceiling_ = 0;  // per second: where the last refusals came
  Moment rose_at_;
  Moment lowered_at_ = -absl::InfiniteDuration();
  int64_t accepted_since_ = 0;
  int64_t bursts_since_ = 0;
  Moment limits_known_since_ = absl::InfiniteDuration();
  Moment paused_until_ = -absl::InfiniteDuration();
  Moment pause_began_ = -absl::InfiniteDuration();
  int64_t refusal_bursts_ = 0;
  int64_t sent_requests_ = 0;
  int64_t sent_tokens_ = 0;
  double recent_sends_ = 0;  // fading, see SendRate()
  Moment recent_at_;
  Moment first_at_ = absl::InfiniteDuration();
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_RATE_LIMITER_H_
