#ifndef REEMBED_ENGINE_RATE_LIMITER_H_
#define REEMBED_ENGINE_RATE_LIMITER_H_

#include <cstdint>
#include <mutex>

#include "absl/time/time.h"

namespace reembed {

// A moment of the monotonic clock, which no change of the wall clock moves: time since an unspecified start.
using Moment = absl::Duration;

// The monotonic clock.
Moment MonotonicNow();

// The provider's published quota.
struct RateLimit {
  double requests_per_minute = 0;           // 0: unlimited
  double tokens_per_minute = 0;             // 0: unlimited
  absl::Duration burst = absl::Seconds(1);  // how much unused quota is kept for later
};

// Two token buckets that say when, and never wait: no thread, no clock, no sleep. Thread-safe.
// Every reservation pushes the next one back, so starts are spread evenly instead of in bursts.
class RateLimiter {
 public:
  explicit RateLimiter(const RateLimit& limit);

  // The earliest start of a request of this many model tokens, >= now. The quota is used up by asking.
  // A request larger than a whole burst is allowed when the bucket is full; the next ones pay for it.
  Moment Reserve(int64_t tokens, Moment now);

  // The provider refused: nothing starts before now + retry_after. Reservations already given are the caller's to
  // delay, see PausedUntil().
  void Pause(absl::Duration retry_after, Moment now);

  // No request may start before this moment.
  Moment PausedUntil() const;

 private:
  struct Bucket {
    double per_second = 0;  // 0: unlimited
    double capacity = 0;
    double level = 0;  // may be negative: quota that is promised already
    Moment at;         // when `level` was true
  };
  static absl::Duration Take(Bucket* bucket, double amount, Moment now);

  mutable std::mutex mutex_;
  Bucket requests_;
  Bucket tokens_;
  Moment paused_until_ = -absl::InfiniteDuration();
  bool started_ = false;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_RATE_LIMITER_H_
