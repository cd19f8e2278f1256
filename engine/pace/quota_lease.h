// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_QUOTA_LEASE_H_
#define REEMBED_ENGINE_PACE_QUOTA_LEASE_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "engine/pace/quota_book.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/shared_quota.h"

namespace reembed {

// One worker's side of a quota that is kept elsewhere (QuotaBook): holds what was granted, gives it to requests, and
// says when to ask again and for how much. It asks for what it will use in a quarter of a second, so a few times a
// second at most, and twice a second when it wants nothing, so that it hears what others have met with. What is granted
// and not used is lost to others for a moment, so nobody asks ahead for more than it has shown to need.
//
// While nobody answers it goes on with its safe share: the rate divided by the workers that were seen last.
//
// Grants are waits, never moments of the server's clock: clocks may differ. Pure logic, with the time as a parameter.
// Not thread-safe.
class QuotaLease {
 public:
  // `worker`: see QuotaAsk. `seed`: of the jitter.
  QuotaLease(std::string worker, const RateLimit& limit, uint64_t seed);

  // As SharedQuota.
  Moment TryStart(int64_t tokens, Moment now);
  Moment NextStart(int64_t tokens, Moment now) const;
  void Tell(const QuotaNews& news, Moment now);
  RateLimit limit() const;

  // When Ask() should be called next; infinite: not before the answer to the last one.
  Moment NextAsk(Moment now) const;
  // Each is followed by Answered() or Failed().
  QuotaAsk Ask(Moment now);
  void Answered(const QuotaGrant& grant, Moment now);
  void Failed(Moment now);
  // For the last time: gives back what is left.
  QuotaAsk Leave(Moment now);

  // Nobody answers: it goes on with its share.
  bool alone() const { return alone_.has_value(); }
  int workers() const { return workers_; }  // that were seen last, itself included

 private:
  struct Upcoming {
    Moment begin;
    int64_t requests = 0;
    int64_t tokens = 0;
  };

  bool counts_requests() const { return agreed_.requests_per_minute > 0; }
  bool counts_tokens() const { return agreed_.tokens_per_minute > 0; }
  bool is_unlimited() const { return epoch_ != 0 && !counts_requests() && !counts_tokens(); }
  bool Enough(int64_t requests, int64_t tokens, int64_t needed) const;
  void Advance(Moment now);
  int64_t LeaseSize() const;
  bool Lacks(Moment now) const;
  double TokensOf(int64_t requests) const;
  double Chance();  // 0 to 1

  const std::string worker_;
  const RateLimit given_;
  uint64_t random_;

  // Granted.
  int64_t requests_ = 0;
  int64_t tokens_ = 0;  // below 0: used beyond what was granted
  Moment keep_until_ = -absl::InfiniteDuration();
  std::deque<Upcoming> upcoming_;
  int64_t requests_back_ = 0, tokens_back_ = 0;

  // Agreed on.
  RateLimit agreed_;
  int64_t epoch_ = 0;  // 0: nobody has answered yet
  int workers_ = 1;
  Moment paused_until_ = -absl::InfiniteDuration();

  // To tell.
  RateLimit said_;
  bool said_more_ = false;
  Moment refused_until_ = -absl::InfiniteDuration();
  bool refusal_untold_ = false;
  bool refusal_being_told_ = false;

  // Asking.
  bool asking_ = false;
  Moment asked_at_ = -absl::InfiniteDuration();
  Moment wanted_at_ = -absl::InfiniteDuration();
  int64_t next_tokens_ = 0;  // of the request that asked last
  double mean_tokens_ = 0;   // of the last requests, fading; 0: there was none
  int64_t sent_ = 0;         // requests
  bool ran_dry_ = false;     // since the last answer
  double boost_ = 1;         // of the lease, above the fair share

  std::optional<RateLimiter> alone_;
  Moment retry_at_ = -absl::InfiniteDuration();
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_QUOTA_LEASE_H_
