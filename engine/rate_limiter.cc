#include "engine/rate_limiter.h"

#include <algorithm>
#include <chrono>

namespace reembed {

Moment MonotonicNow() { return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()); }

RateLimiter::RateLimiter(const RateLimit& limit) {
  const auto set = [&](double per_minute, Bucket* bucket) {
    bucket->per_second = per_minute / 60;
    bucket->capacity = bucket->per_second * absl::ToDoubleSeconds(limit.burst);
    bucket->level = bucket->capacity;
  };
  set(limit.requests_per_minute, &requests_);
  set(limit.tokens_per_minute, &tokens_);
}

Moment RateLimiter::Reserve(int64_t tokens, Moment now) {
  const std::lock_guard lock(mutex_);
  if (!started_) {
    started_ = true;
    requests_.at = tokens_.at = now;
  }
  const Moment from = std::max({now, paused_until_, requests_.at, tokens_.at});
  // Both buckets are charged at the common start. Charged when each alone would allow it, the one that waits less
  // would fill up again meanwhile and let a burst through behind a large request.
  const auto amount = static_cast<double>(tokens);
  Bucket requests = requests_;
  Bucket model_tokens = tokens_;
  const Moment start = from + std::max(Take(&requests, 1, from), Take(&model_tokens, amount, from));
  Take(&requests_, 1, start);
  Take(&tokens_, amount, start);
  return start;
}

absl::Duration RateLimiter::Take(Bucket* bucket, double amount, Moment now) {
  if (bucket->per_second <= 0) return absl::ZeroDuration();
  const double refill = bucket->per_second * absl::ToDoubleSeconds(now - bucket->at);
  const double level = std::min(bucket->capacity, bucket->level + refill);
  const double needed = std::min(amount, bucket->capacity);
  bucket->at = now;
  bucket->level = level - amount;
  return level >= needed ? absl::ZeroDuration() : absl::Seconds((needed - level) / bucket->per_second);
}

void RateLimiter::Pause(absl::Duration retry_after, Moment now) {
  const std::lock_guard lock(mutex_);
  paused_until_ = std::max(paused_until_, now + retry_after);
}

Moment RateLimiter::PausedUntil() const {
  const std::lock_guard lock(mutex_);
  return paused_until_;
}

}  // namespace reembed
