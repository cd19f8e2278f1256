// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/rate_limiter.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);  // the clock's zero means nothing

// When a request leaves that is ready at `now` and asks again whenever it is told to.
Departure Start(RateLimiter* limiter, int64_t tokens, Moment now) {
  Departure departure;
  for (Moment next; (next = limiter->TryStart(tokens, now, &departure)) > now; now = next) {
  }
  return departure;
}

// The starts, in seconds after kStart, of requests that leave one behind the other.
std::vector<double> StartsOf(RateLimiter* limiter, const std::vector<int64_t>& tokens) {
  std::vector<double> starts;
  Moment now = kStart;
  for (const int64_t t : tokens) {
    now = Start(limiter, t, now).at;
    starts.push_back(absl::ToDoubleSeconds(now - kStart));
  }
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

TEST(RateLimiterTest, ToAskWhenIsNotToTake) {
  RateLimiter limiter({.requests_per_minute = 120, .tokens_per_minute = 6000, .burst = absl::Seconds(1)});
  EXPECT_EQ(limiter.requests_per_minute(), 120);
  EXPECT_EQ(limiter.tokens_per_minute(), 6000);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(limiter.NextStart(1, kStart), kStart);
  ExpectStarts(StartsOf(&limiter, {1, 1}), {0, 0});
  for (int i = 0; i < 10; ++i) {
    EXPECT_NEAR(absl::ToDoubleSeconds(limiter.NextStart(1, kStart) - kStart), 0.5, 1e-6);
  }
  ExpectStarts(StartsOf(&limiter, {1}), {0.5});
  limiter.Pause(absl::Seconds(30), kStart);
  EXPECT_EQ(limiter.NextStart(1, kStart), kStart + absl::Seconds(30));
}

TEST(RateLimiterTest, NamesTheLimitsThatHeadersSaid) {
  RateLimiter limiter({});
  EXPECT_EQ(limiter.requests_per_minute(), 0);
  const Departure departure = Start(&limiter, 1, kStart);
  limiter.Learn({.limit_requests = 600}, departure, kStart + absl::Seconds(1));
  EXPECT_NEAR(limiter.requests_per_minute(), 600, 1e-6);
  EXPECT_EQ(limiter.tokens_per_minute(), 0);
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
  EXPECT_EQ(Start(&limiter, 1, later).at, later);
  EXPECT_EQ(Start(&limiter, 1, later).at, later);
  EXPECT_EQ(Start(&limiter, 1, later).at, later + absl::Seconds(1));
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
      requests.push_back({Start(&limiter, tokens, now).at, tokens});
      now = std::max(now, requests.back().start);
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
  Moment now = kStart;
  for (int i = 0; i < 3050; ++i) now = last = Start(&limiter, 10, now).at;
  EXPECT_NEAR(absl::ToDoubleSeconds(last - kStart), 60, 0.001);
}

TEST(RateLimiterTest, ThreeRequestsAMinuteLeaveTwentySecondsApart) {
  RateLimiter limiter({.requests_per_minute = 3, .tokens_per_minute = 40'000});
  ExpectStarts(StartsOf(&limiter, {960, 960, 960, 960}), {0, 20, 40, 60});
}

TEST(RateLimiterTest, PutOffRequestsTakeNothing) {
  RateLimiter limiter({.requests_per_minute = 60, .burst = absl::Seconds(1)});
  Departure departure;
  ASSERT_EQ(limiter.TryStart(1, kStart, &departure), kStart);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(limiter.TryStart(1, kStart, &departure), kStart + absl::Seconds(1));
  EXPECT_EQ(limiter.TryStart(1, kStart + absl::Seconds(1), &departure), kStart + absl::Seconds(1));
}

// ---- What the provider counts ----

TEST(RateLimiterTest, CorrectsTokensByWhatWasCharged) {
  const RateLimit limit{.tokens_per_minute = 60'000, .burst = absl::Seconds(1)};
  RateLimiter wasteful(limit), greedy(limit);
  Start(&wasteful, 1000, kStart);
  wasteful.Correct(1000, 400);
  ExpectStarts(StartsOf(&wasteful, {1000}), {0.4});
  Start(&greedy, 1000, kStart);
  greedy.Correct(1000, 3000);
  ExpectStarts(StartsOf(&greedy, {1000}), {3});
}

// ---- Learning from headers ----

TEST(RateLimiterTest, LearnsLimitsAndFollowsTheirChanges) {
  RateLimiter limiter({.burst = absl::Seconds(1)});
  const Departure first = Start(&limiter, 10, kStart);
  limiter.Learn({.limit_requests = 60}, first, kStart);
  EXPECT_TRUE(limiter.knows_limits());
  ExpectStarts(StartsOf(&limiter, {10, 10, 10}), {0, 1, 2});
  limiter.Learn({.limit_requests = 120}, first, kStart + absl::Seconds(2));
  EXPECT_EQ(Start(&limiter, 10, kStart + absl::Seconds(2)).at, kStart + absl::Seconds(2.5));
}

TEST(RateLimiterTest, TheStricterOfFlagAndHeaderWins) {
  RateLimiter flag({.requests_per_minute = 60, .burst = absl::Seconds(1)});
  flag.Learn({.limit_requests = 6000, .remaining_requests = 6000}, Start(&flag, 1, kStart), kStart);
  ExpectStarts(StartsOf(&flag, {1, 1}), {1, 2});
  RateLimiter header({.requests_per_minute = 6000, .burst = absl::Seconds(1)});
  header.Learn({.limit_requests = 60, .remaining_requests = 60}, Start(&header, 1, kStart), kStart);
  const Moment first = Start(&header, 1, kStart).at;
  EXPECT_EQ(Start(&header, 1, first).at, first + absl::Seconds(1));
}

TEST(RateLimiterTest, LevelFollowsRemainingDownButNeverUp) {
  const RateLimit limit{.requests_per_minute = 600, .burst = absl::Seconds(1)};
  RateLimiter low(limit);
  const Departure departure = Start(&low, 1, kStart);
  low.Learn({.limit_requests = 600, .remaining_requests = 0}, departure, kStart);
  ExpectStarts(StartsOf(&low, {1, 1}), {0.1, 0.2});
  RateLimiter high(limit);
  Departure last;
  for (int i = 0; i < 10; ++i) last = Start(&high, 1, kStart);
  high.Learn({.limit_requests = 600, .remaining_requests = 599}, last, kStart);
  ExpectStarts(StartsOf(&high, {1}), {0.1});
}

TEST(RateLimiterTest, RemainingCountsWhatWasSentAndWhatFlowedBackSince) {
  RateLimiter limiter({.requests_per_minute = 600, .burst = absl::Seconds(1)});
  const Departure first = Start(&limiter, 1, kStart);
  for (int i = 0; i < 4; ++i) Start(&limiter, 1, kStart);
  // 8 left when the first was taken, 4 sent since, one flowed back: 5 may go at once.
  limiter.Learn({.limit_requests = 600, .remaining_requests = 8}, first, kStart + absl::Milliseconds(150));
  int at_once = 0;
  Departure departure;
  const Moment now = kStart + absl::Milliseconds(150);
  while (limiter.TryStart(1, now, &departure) == now) ++at_once;
  EXPECT_EQ(at_once, 5);
}

TEST(RateLimiterTest, IgnoresHeadersWithoutSense) {
  RateLimiter limiter({});
  const Departure departure = Start(&limiter, 1, kStart);
  for (const double nonsense : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    limiter.Learn({.limit_requests = nonsense, .remaining_requests = 0, .limit_tokens = nonsense}, departure, kStart);
  }
  limiter.Learn({.limit_requests = -1, .remaining_requests = -1, .remaining_tokens = 0}, departure, kStart);
  EXPECT_FALSE(limiter.knows_limits());
  ExpectStarts(StartsOf(&limiter, {1, 1, 1, 1}), {0, 0, 0, 0});
}

// ---- Refusals ----

TEST(RateLimiterTest, OneBurstOfRefusalsIsOnePause) {
  RateLimiter limiter({.requests_per_minute = 6000});
  std::vector<Departure> sent;
  for (int i = 0; i < 20; ++i) sent.push_back(Start(&limiter, 1, kStart));
  Moment now = kStart + absl::Seconds(1);
  for (const Departure& departure : sent)
    limiter.Refused(departure, absl::Seconds(2), false, now += absl::Milliseconds(100));
  EXPECT_EQ(limiter.refusal_bursts(), 1);
  EXPECT_EQ(limiter.PausedUntil(), kStart + absl::Seconds(3.1));
  limiter.Refused(sent[3], absl::Seconds(5), true, now);  // it names a later moment
  EXPECT_EQ(limiter.PausedUntil(), now + absl::Seconds(5));
  EXPECT_EQ(limiter.refusal_bursts(), 1);
  limiter.Refused(Start(&limiter, 1, now), absl::Seconds(1), false, now + absl::Seconds(6));
  EXPECT_EQ(limiter.refusal_bursts(), 2);
}

TEST(RateLimiterTest, NoBurstFollowsAPause) {
  for (const bool named : {false, true}) {
    RateLimiter limiter({.requests_per_minute = 600, .burst = absl::Seconds(1)});
    limiter.Refused(Start(&limiter, 1, kStart), absl::Seconds(30), named, kStart + absl::Seconds(1));
    const std::vector<double> starts = StartsOf(&limiter, {1, 1, 1, 1});
    EXPECT_NEAR(starts[0], 31, 1e-6);
    EXPECT_GE(starts[3] - starts[0], 0.3);
  }
}

// Two leave before anything is known; one is refused and told to come again in 20 s.
// Found by the simulation (seed 900006274): refused requests count, too.
TEST(RateLimiterTest, TheUsersLimitHoldsWhateverWaitARefusalNames) {
  RateLimiter limiter({.requests_per_minute = 60, .burst = absl::Seconds(1)});
  Moment now = kStart;
  std::vector<double> starts;
  for (int i = 0; i < 6; ++i) {
    const Departure departure = Start(&limiter, 1, now);
    starts.push_back(absl::ToDoubleSeconds(departure.at - kStart));
    now = departure.at + absl::Milliseconds(10);
    limiter.Refused(departure, absl::Milliseconds(200), /*wait_is_named=*/true, now);
  }
  for (int i = 2; i < 6; ++i) EXPECT_GE(starts[i] - starts[i - 1], 1 - 1e-6) << "request " << i;
}

TEST(RateLimiterTest, LearnsThreeRequestsAMinuteFromOneRefusal) {
  RateLimiter limiter({});
  const Departure first = Start(&limiter, 1, kStart), second = Start(&limiter, 1, kStart);
  const Moment now = kStart + absl::Milliseconds(100);
  limiter.Learn({.limit_requests = 3, .remaining_requests = 0}, second, now);
  limiter.Refused(second, absl::Seconds(20), true, now);  // refusals come sooner than vectors
  limiter.Learn({.limit_requests = 3, .remaining_requests = 0}, first, now + absl::Milliseconds(100));
  ExpectStarts(StartsOf(&limiter, {1, 1, 1}), {20.1, 40.1, 60.1});
}

// A server without headers that takes 20 a second: refusals teach about that rate.
TEST(RateLimiterTest, FindsAnUnknownRateByHalvingAndRising) {
  RateLimiter limiter({});
  double level = 20;  // of the server's bucket
  Moment level_at = kStart, now = kStart;
  int taken = 0, refused = 0, taken_late = 0;
  while (now < kStart + absl::Minutes(3)) {
    const Departure departure = Start(&limiter, 1, now);
    now = std::max(departure.at, now + absl::Milliseconds(10));  // at most 100 a second
    level = std::min(20.0, level + 20 * absl::ToDoubleSeconds(now - level_at));
    level_at = now;
    if (level >= 1) {
      level -= 1;
      ++taken;
      taken_late += now > kStart + absl::Minutes(1);
      limiter.Accepted(now);
    } else {
      ++refused;
      limiter.Refused(departure, absl::Seconds(0.5), false, now);
    }
  }
  EXPECT_GT(taken_late, 0.7 * 20 * 120);
  EXPECT_LT(refused, 0.03 * taken);
}

TEST(RateLimiterTest, MonotonicClockDoesNotGoBack) {
  const Moment before = MonotonicNow();
  EXPECT_GE(MonotonicNow(), before);
}

}  // namespace
}  // namespace reembed
