#include "engine/retry.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(BackoffTest, IsSpreadBelowADoublingBound) {
  constexpr uint64_t kSeed = 7;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  std::mt19937_64 random(kSeed);
  const RetryPolicy policy{.first_backoff = absl::Seconds(1), .max_wait = absl::Seconds(6)};
  for (const auto& [attempts, bound] : {std::pair(1, 1), {2, 2}, {3, 4}, {4, 6}, {5, 6}, {1000, 6}}) {
    absl::Duration least = absl::InfiniteDuration(), most = absl::ZeroDuration();
    for (int i = 0; i < 1000; ++i) {
      const absl::Duration wait = Backoff(policy, attempts, &random);
      least = std::min(least, wait);
      most = std::max(most, wait);
    }
    EXPECT_LT(least, absl::Seconds(bound) * 0.05) << attempts;
    EXPECT_GT(most, absl::Seconds(bound) * 0.95) << attempts;
    EXPECT_LE(most, absl::Seconds(bound)) << attempts;
  }
}

TEST(BackoffTest, IsTheSameForTheSameSeed) {
  std::mt19937_64 one(3), same(3);
  EXPECT_EQ(Backoff({}, 4, &one), Backoff({}, 4, &same));
}

struct WaitCase {
  WaitHints hints;
  std::optional<absl::Duration> expected;
};

TEST(NamedWaitTest, ReadsEveryForm) {
  absl::Time now;
  std::string error;
  ASSERT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M:%S", "2026-10-21 07:28:00", &now, &error)) << error;
  const std::string moment = absl::StrCat(absl::ToUnixSeconds(now) + 9);
  const std::vector<WaitCase> cases = {
      {{.retry_after_ms = "1350"}, absl::Milliseconds(1350)},
      {{.retry_after_ms = "1350", .retry_after = "2"}, absl::Milliseconds(1350)},
      {{.retry_after_ms = "-1", .retry_after = "2"}, absl::Seconds(2)},
      {{.retry_after_ms = "soon", .retry_after = " 2 "}, absl::Seconds(2)},
      {{.retry_after = "1.5"}, absl::Seconds(1.5)},
      {{.retry_after = "1m30s"}, absl::Seconds(90)},
      {{.in_body = "34.5s"}, absl::Seconds(34.5)},
      {{.retry_after = "2", .in_body = "34s"}, absl::Seconds(2)},
      {{.retry_after = "Wed, 21 Oct 2026 07:28:30 GMT"}, absl::Seconds(30)},
      {{.retry_after = "Wed, 21 Oct 2026 07:27:30 GMT"}, std::nullopt},
      {{.retry_after = moment}, absl::Seconds(9)},
      {{.retry_after = "86400"}, absl::Hours(24)},
      {{.retry_after = "0"}, std::nullopt},
      {{.retry_after = "-5"}, std::nullopt},
      {{.retry_after = "nan"}, std::nullopt},
      {{.retry_after = "later"}, std::nullopt},
      {{.message = "Rate limit reached. Please try again in 6ms. Visit x"}, absl::Milliseconds(6)},
      {{.message = "Please try again in 1.2s."}, absl::Seconds(1.2)},
      {{.message = "Please try again in 1m30s"}, absl::Seconds(90)},
      {{.message = "Please retry after 7 seconds."}, absl::Seconds(7)},
      {{.message = "Please retry after a while"}, std::nullopt},
      {{.retry_after = "3", .message = "try again in 1.2s"}, absl::Seconds(3)},
      {{}, std::nullopt},
  };
  for (const WaitCase& c : cases) {
    EXPECT_EQ(NamedWait(c.hints, now), c.expected)
        << c.hints.retry_after_ms << "|" << c.hints.retry_after << "|" << c.hints.message;
  }
}

TEST(NamedWaitTest, SurvivesHugeNumbers) {
  for (const char* huge : {"1e300", "99999999999999999999999", "inf"}) {
    const auto wait = NamedWait({.retry_after = huge}, absl::FromUnixSeconds(1'800'000'000));
    ASSERT_TRUE(wait.has_value()) << huge;
    EXPECT_GT(*wait, absl::Hours(1)) << huge;
  }
}

TEST(WaitBeforeRetryTest, CapsWhatTheProviderAsksForAndSaysSo) {
  std::mt19937_64 random(1);
  const RetryWait wait =
      WaitBeforeRetry({.max_wait = absl::Seconds(10)}, 1, {.retry_after = "3600"}, absl::UnixEpoch(), &random);
  EXPECT_GE(wait.wait, absl::Seconds(10));
  EXPECT_LE(wait.wait, absl::Seconds(11));
  EXPECT_EQ(wait.named, absl::Hours(1));
}

TEST(WaitBeforeRetryTest, NeverWaitsLessThanAskedWithinTheCap) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) {
    const RetryWait wait = WaitBeforeRetry({}, 1, {.retry_after = "2"}, absl::UnixEpoch(), &random);
    EXPECT_GE(wait.wait, absl::Seconds(2));
    EXPECT_LE(wait.wait, absl::Seconds(2.5));
  }
}

TEST(WaitBeforeRetryTest, BacksOffWhenNothingIsNamed) {
  std::mt19937_64 random(1);
  const RetryWait wait = WaitBeforeRetry({.first_backoff = absl::Seconds(1)}, 1, {}, absl::UnixEpoch(), &random);
  EXPECT_LE(wait.wait, absl::Seconds(1));
  EXPECT_EQ(wait.named, absl::ZeroDuration());
}

TEST(ParseGoDurationTest, ReadsEveryUnit) {
  EXPECT_EQ(ParseGoDuration("12ms"), absl::Milliseconds(12));
  EXPECT_EQ(ParseGoDuration("8.64s"), absl::Milliseconds(8640));
  EXPECT_EQ(ParseGoDuration("6m0s"), absl::Minutes(6));
  EXPECT_EQ(ParseGoDuration("1h2m3s"), absl::Hours(1) + absl::Minutes(2) + absl::Seconds(3));
  EXPECT_EQ(ParseGoDuration("250us"), absl::Microseconds(250));
  EXPECT_EQ(ParseGoDuration("250µs"), absl::Microseconds(250));
  EXPECT_EQ(ParseGoDuration("5ns"), absl::Nanoseconds(5));
}

TEST(ParseGoDurationTest, RefusesEverythingElse) {
  for (const char* text : {"", "5", "-5s", "inf", "s", "5 s", "5x", "ms5"}) {
    EXPECT_EQ(ParseGoDuration(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace reembed
