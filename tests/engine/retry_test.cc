#include "engine/retry.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

struct ReplyCase {
  int status;
  ApiError error;
  int texts;
  ReplyClass expected;
};

void ExpectClasses(const std::vector<ReplyCase>& cases) {
  for (const ReplyCase& c : cases) {
    EXPECT_EQ(ClassifyReply(c.status, c.error, c.texts), c.expected)
        << c.status << " " << c.error.code << " " << c.error.message << " with " << c.texts << " texts";
  }
}

TEST(ClassifyReplyTest, KnowsWhatPasses) {
  ExpectClasses({
      {200, {}, 8, ReplyClass::kOk},
      {204, {}, 8, ReplyClass::kRetry},
      {408, {}, 8, ReplyClass::kRetry},
      {409, {}, 8, ReplyClass::kRetry},
      {425, {}, 8, ReplyClass::kRetry},
      {500, {.code = "server_error"}, 8, ReplyClass::kRetry},
      {502, {}, 8, ReplyClass::kRetry},
      {504, {}, 8, ReplyClass::kRetry},
      {520, {}, 8, ReplyClass::kRetry},
      {524, {}, 8, ReplyClass::kRetry},
      {503, {}, 8, ReplyClass::kRetryWait},
      {529, {}, 8, ReplyClass::kRetryWait},
      {429, {}, 8, ReplyClass::kRetryWait},
      {429, {.code = "rate_limit_exceeded", .message = "Rate limit reached for M"}, 8, ReplyClass::kRetryWait},
  });
}

TEST(ClassifyReplyTest, SplitsWhatIsTooMuchAndWhatHidesABadText) {
  ExpectClasses({
      {413, {}, 8, ReplyClass::kSplit},
      {413, {}, 1, ReplyClass::kRejectText},
      {400, {.code = "max_tokens_per_request"}, 8, ReplyClass::kSplit},
      {400, {.message = "'$.input' is invalid. Please check the API reference"}, 2, ReplyClass::kSplit},
      {400, {.message = "Too many tokens in batch. Max is 16384 got 17555"}, 8, ReplyClass::kSplit},
      {400, {.message = "This model's maximum context length is 8192 tokens"}, 2, ReplyClass::kSplit},
      {400, {.message = "This model's maximum context length is 8192 tokens"}, 1, ReplyClass::kRejectText},
      {422, {}, 32, ReplyClass::kSplit},
      {422, {}, 1, ReplyClass::kRejectText},
      {429, {.type = "tokens", .message = "Request too large for M on tokens per min"}, 8, ReplyClass::kSplit},
      {429, {.type = "tokens", .message = "Request too large for M on tokens per min"}, 1, ReplyClass::kRejectText},
      {500, {.message = "input is too large to process. increase the physical batch size"}, 8, ReplyClass::kSplit},
      {500, {.message = "input is too large to process. increase the physical batch size"}, 1, ReplyClass::kRejectText},
  });
}

TEST(ClassifyReplyTest, StopsAtKeyQuotaModelAndAddress) {
  ExpectClasses({
      {301, {}, 8, ReplyClass::kStop},
      {401, {.code = "invalid_api_key"}, 8, ReplyClass::kStop},
      {401, {}, 1, ReplyClass::kStop},
      {402, {}, 8, ReplyClass::kStop},
      {403, {}, 8, ReplyClass::kStop},
      {404, {.code = "model_not_found"}, 8, ReplyClass::kStop},
      {404, {}, 8, ReplyClass::kStop},
      {410, {}, 8, ReplyClass::kStop},
      {429, {.code = "insufficient_quota", .type = "insufficient_quota"}, 8, ReplyClass::kStop},
      {429, {.type = "insufficient_quota"}, 1, ReplyClass::kStop},
      {429, {.code = "billing_hard_limit_reached"}, 8, ReplyClass::kStop},
      {400, {.code = "API_KEY_INVALID"}, 8, ReplyClass::kStop},
      {400, {.message = "API key not valid. Please pass a valid API key."}, 1, ReplyClass::kStop},
      {400, {.code = "INPUT_MODEL_NOT_FOUND"}, 1, ReplyClass::kStop},
  });
}

// Otherwise a wrong option would be taken for a bad text, once for every text of the run.
TEST(ClassifyReplyTest, BlamesOptionsNotTexts) {
  ExpectClasses({
      {400, {.param = "dimensions", .message = "Invalid value"}, 1, ReplyClass::kStop},
      {422, {.param = "encoding_format"}, 1, ReplyClass::kStop},
      {400, {.message = "This model does not support specifying dimensions."}, 8, ReplyClass::kStop},
  });
}

TEST(ClassifyReplyTest, TakesAnErrorInsideA200ForAnError) {
  ExpectClasses({
      {200, {.message = "upstream went away"}, 8, ReplyClass::kRetry},
      {200, {.code = "429", .message = "slow down"}, 8, ReplyClass::kRetryWait},
      {200, {.code = "401"}, 8, ReplyClass::kStop},
      {200, {.code = "200", .message = "odd"}, 8, ReplyClass::kRetry},
      {200, {.code = "insufficient_quota"}, 8, ReplyClass::kStop},
      {200, {.code = "400", .message = "too long"}, 1, ReplyClass::kRejectText},
  });
}

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
