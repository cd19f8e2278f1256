#include "engine/rate_limiter.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);  // the clock's zero means nothing

// The starts, in seconds after kStart, of requests that are all asked for at once.
std::vector<double> StartsOf(RateLimiter* limiter, const std::vector<int64_t>& tokens) {
  std::vector<double> starts;
  for (const int64_t t : tokens) starts.push_back(absl::ToDoubleSeconds(limiter->Reserve(t, kStart) - kStart));
  return starts;
}

void ExpectStarts(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6) << "request " << i;
}

TEST(RateLimiterTest, StartsAtOnceWithoutLimits) {
  RateLimiter limiter({});
  ExpectStarts(StartsOf(&limiter, {1, 1'000'000, 5}), {0, 0, 0});
}

TEST(RateLimiterTest, SpreadsRequestsEvenlyAfterTheBurst) {
  RateLimiter limiter({.requests_per_minute = 120, .burst = absl::Seconds(1)});
  ExpectStarts(StartsOf(&limiter, {1, 1, 1, 1, 1}), {0, 0, 0.5, 1.0, 1.5});
}

TEST(RateLimiterTest, SpreadsTokens) {
  RateLimiter limiter({.tokens_per_minute = 6000, .burst = absl::Seconds(1)});
  ExpectStarts(StartsOf(&limiter, {60, 60, 100, 10}), {0, 0.2, 1.2, 1.3});
}

TEST(RateLimiterTest, ObeysTheNarrowerOfBothLimits) {
  RateLimiter limiter({.requests_per_minute = 60, .tokens_per_minute = 600, .burst = absl::Seconds(1)});
  ExpectStarts(StartsOf(&limiter, {1, 1, 30, 1}), {0, 1, 2, 4.1});
}

TEST(RateLimiterTest, LetsOneLargeRequestThroughAndTheNextPay) {
  RateLimiter limiter({.tokens_per_minute = 60'000, .burst = absl::Seconds(1)});
  ExpectStarts(StartsOf(&limiter, {30'000, 1000, 5000}), {0, 30, 31});
}

TEST(RateLimiterTest, NoBurstOfRequestsFollowsALargeOne) {
  RateLimiter limiter({.requests_per_minute = 60, .tokens_per_minute = 60'000, .burst = absl::Seconds(1)});
  ExpectStarts(StartsOf(&limiter, {60'000, 1, 1, 1}), {0, 59.001, 60.001, 61.001});
}

TEST(RateLimiterTest, KeepsNoMoreThanABurstOfUnusedQuota) {
  RateLimiter limiter({.requests_per_minute = 60, .burst = absl::Seconds(2)});
  ExpectStarts(StartsOf(&limiter, {1}), {0});
  const Moment later = kStart + absl::Hours(1);
  EXPECT_EQ(limiter.Reserve(1, later), later);
  EXPECT_EQ(limiter.Reserve(1, later), later);
  EXPECT_EQ(limiter.Reserve(1, later), later + absl::Seconds(1));
}

TEST(RateLimiterTest, StartsNothingDuringAPause) {
  RateLimiter limiter({.requests_per_minute = 60, .burst = absl::Seconds(1)});
  limiter.Pause(absl::Seconds(20), kStart);
  limiter.Pause(absl::Seconds(5), kStart);  // a shorter one does not end it
  EXPECT_EQ(limiter.PausedUntil(), kStart + absl::Seconds(20));
  ExpectStarts(StartsOf(&limiter, {1, 1}), {20, 21});
}

TEST(RateLimiterTest, PausesWithoutLimits) {
  RateLimiter limiter({});
  limiter.Pause(absl::Seconds(3), kStart);
  ExpectStarts(StartsOf(&limiter, {1, 1}), {3, 3});
}

struct Started {
  Moment start;
  int64_t tokens;
};

// Whatever is asked for and however often the provider pauses us, any minute has at most the quota and one burst;
// a request larger than the burst counts as the burst.
void ExpectEveryMinuteWithinQuota(const std::vector<Started>& requests, const RateLimit& limit) {
  const double burst = absl::ToDoubleSeconds(limit.burst) / 60;
  for (size_t first = 0; first < requests.size(); ++first) {
    int64_t count = 0, tokens = 0, largest = 0;
    for (size_t i = first; i < requests.size() && requests[i].start < requests[first].start + absl::Minutes(1); ++i) {
      ++count;
      tokens += requests[i].tokens;
      largest = std::max(largest, requests[i].tokens);
    }
    const double most_requests = limit.requests_per_minute + std::max(1.0, limit.requests_per_minute * burst);
    const double most_tokens = limit.tokens_per_minute + std::max<double>(largest, limit.tokens_per_minute * burst);
    ASSERT_LE(count, most_requests + 1e-3) << "minute from request " << first;
    ASSERT_LE(tokens, most_tokens + 1e-3) << "minute from request " << first;
  }
}

TEST(RateLimiterTest, NeverStartsMoreThanQuotaAndBurstInAnyMinute) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const auto between = [&](double low, double high) {
      return std::uniform_real_distribution<double>(low, high)(random);
    };
    const RateLimit limit{.requests_per_minute = between(20, 600),
                          .tokens_per_minute = between(1000, 100'000),
                          .burst = absl::Seconds(between(0.2, 5))};
    RateLimiter limiter(limit);
    std::vector<Started> requests;
    Moment now = kStart;
    for (int i = 0; i < 600; ++i) {
      if (between(0, 1) < 0.3) now += absl::Seconds(between(0, 3));
      if (between(0, 1) < 0.02) limiter.Pause(absl::Seconds(between(0, 20)), now);
      const int64_t tokens = static_cast<int64_t>(between(1, between(0, 1) < 0.05 ? 30'000 : 400));
      requests.push_back({limiter.Reserve(tokens, now), tokens});
      ASSERT_GE(requests.back().start, now);
      if (i > 0) {
        ASSERT_GE(requests[i].start, requests[i - 1].start);
      }
    }
    ExpectEveryMinuteWithinQuota(requests, limit);
  }
}

TEST(RateLimiterTest, UsesTheWholeQuota) {
  RateLimiter limiter({.requests_per_minute = 3000, .burst = absl::Seconds(1)});
  Moment last;
  for (int i = 0; i < 3050; ++i) last = limiter.Reserve(10, kStart);
  EXPECT_NEAR(absl::ToDoubleSeconds(last - kStart), 60, 0.001);
}

TEST(RateLimiterTest, MonotonicClockDoesNotGoBack) {
  const Moment before = MonotonicNow();
  EXPECT_GE(MonotonicNow(), before);
}

}  // namespace
}  // namespace reembed
