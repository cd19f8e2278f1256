// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/retry.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
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

// As an answer with this Retry-After.
RetryWait WaitAfter(const RetryPolicy& policy, const std::string& retry_after, std::mt19937_64* random) {
  const std::vector<std::pair<std::string, std::string>> headers = {{"retry-after", retry_after}};
  return WaitBeforeRetry(policy, 1, {.headers = headers}, absl::UnixEpoch(), random);
}

TEST(WaitBeforeRetryTest, CapsWhatTheProviderAsksForAndSaysSo) {
  std::mt19937_64 random(1);
  const RetryWait wait = WaitAfter({.max_wait = absl::Seconds(10)}, "3600", &random);
  EXPECT_GE(wait.wait, absl::Seconds(10));
  EXPECT_LE(wait.wait, absl::Seconds(11));
  EXPECT_EQ(wait.named, absl::Hours(1));
}

TEST(WaitBeforeRetryTest, NeverWaitsLessThanAskedWithinTheCap) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) {
    const RetryWait wait = WaitAfter({}, "2", &random);
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

}  // namespace
}  // namespace reembed
