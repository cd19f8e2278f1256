// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_SHARED_QUOTA_H_
#define REEMBED_ENGINE_PACE_SHARED_QUOTA_H_

#include <cstdint>

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// What one of those who use a quota has found out about it.
struct QuotaNews {
  int64_t tokens_back = 0;         // so many fewer were charged than had been taken; below 0: more
  double requests_per_minute = 0;  // that the provider names; 0: not said
  double tokens_per_minute = 0;    // likewise
  absl::Duration refused;          // above zero: the provider refused for its rate, and so long nothing shall leave
};

// A quota that others use too, in other processes and on other machines. A RateLimiter that has one asks it in place of
// its own buckets. Thread-safe, and never waits: whoever talks to the others does it elsewhere.
class SharedQuota {
 public:
  virtual ~SharedQuota() = default;

  // As RateLimiter::TryStart(): `now`: a request of so many tokens may leave, and its share is taken. A later moment:
  // ask again then; nothing is taken.
  virtual Moment TryStart(int64_t tokens, Moment now) = 0;

  // As RateLimiter::NextStart(): takes nothing, and asks nobody.
  virtual Moment NextStart(int64_t tokens, Moment now) const = 0;

  virtual void Tell(const QuotaNews& news, Moment now) = 0;

  // Of all together, per minute, as far as somebody has named it; 0: nobody has.
  virtual RateLimit limit() const = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_SHARED_QUOTA_H_
