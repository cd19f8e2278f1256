// SPDX-License-Identifier: Apache-2.0
// How large requests may be where the quota of tokens is small: packed and paced as a run does it, against a provider
// that keeps no more than a second's quota.

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/pace/pacer.h"
#include "engine/pace/request_packer.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);

// A second's worth of a quota, which flows in evenly.
struct Second {
  double per_second;
  double level = per_second;
  Moment at = kStart;

  bool Has(double amount, Moment now) {
    level = std::min(per_second, level + per_second * absl::ToDoubleSeconds(now - at));
    at = now;
    return level >= amount * (1 - 1e-9);
  }
};

struct Use {
  double of_requests = 0;
  double of_tokens = 0;
  int refused = 0;
  int64_t largest = 0;  // request, in tokens
};

// `long_every`: of so many texts one has 8,192 tokens, the others 60. 0: none.
Use SendFor(absl::Duration time, const RateLimit& limit, int long_every) {
  const BatchLimits limits{.max_texts = 256, .max_tokens = 300'000};
  RequestPacker packer(limits, nullptr, QuotaTokensPerRequest(limit));
  Pacer pacer({.limit = limit, .concurrency = 32});
  Second requests{limit.requests_per_minute / 60}, tokens{limit.tokens_per_minute / 60};
  // A request may always come once a second or more rarely, and one text too.
  requests.per_second = requests.level = std::max(1.0, requests.per_second);
  std::multimap<Moment, Departure> in_air;
  int64_t text = 0, sent = 0, sent_tokens = 0;
  Use use;
  const auto tokens_of = [&](int64_t number) { return long_every > 0 && number % long_every == 1 ? 8192 : 60; };
  const auto pack = [&] {
    int texts = 0;
    int64_t sum = 0;
    for (; texts < limits.max_texts && packer.Takes(texts, sum, tokens_of(text)); ++texts) sum += tokens_of(text++);
    packer.Close(texts, sum);
    return sum;
  };
  int64_t next = pack();
  for (Moment now = kStart; now < kStart + time;) {
    Departure departure;
    const Moment start = pacer.TryStart(SendReason::kFirst, next, now, &departure);
    if (start > now) {
      const Moment answer = in_air.empty() ? absl::InfiniteDuration() : in_air.begin()->first;
      now = std::min(start, answer);
      if (answer <= now) {
        pacer.Ended(in_air.begin()->second, SendOutcome::kOk, now);
        in_air.erase(in_air.begin());
      }
      continue;
    }
    if (requests.Has(1, now) && tokens.Has(static_cast<double>(next), now)) {
      requests.level -= 1;
      tokens.level -= static_cast<double>(next);
    } else {
      ++use.refused;
    }
    ++sent;
    sent_tokens += next;
    use.largest = std::max(use.largest, next);
    in_air.emplace(now + absl::Milliseconds(100), departure);
    next = pack();
  }
  use.of_requests = static_cast<double>(sent) / (limit.requests_per_minute * absl::ToDoubleMinutes(time));
  use.of_tokens = static_cast<double>(sent_tokens) / (limit.tokens_per_minute * absl::ToDoubleMinutes(time));
  return use;
}

TEST(QuotaRequestTest, ARequestHasHalfASecondOfTheTokensOrWhatUsesUpBothQuotas) {
  EXPECT_EQ(QuotaTokensPerRequest({.requests_per_minute = 3000, .tokens_per_minute = 600'000}), 5000);
  EXPECT_EQ(QuotaTokensPerRequest({.requests_per_minute = 60, .tokens_per_minute = 600'000}), 10'000);
  EXPECT_EQ(QuotaTokensPerRequest({.tokens_per_minute = 600'000}), 5000);
  EXPECT_EQ(QuotaTokensPerRequest({.requests_per_minute = 60}), 0);
  EXPECT_EQ(QuotaTokensPerRequest({.tokens_per_minute = 60}), 1);
}

TEST(QuotaRequestTest, AProviderThatCountsBySecondsRefusesNothingAndAllIsUsed) {
  for (const double rpm : {60.0, 3000.0}) {
    for (const int long_every : {0, 5000}) {
      SCOPED_TRACE(absl::StrCat(rpm, " rpm, one long text in ", long_every));
      const Use use = SendFor(absl::Minutes(10), {.requests_per_minute = rpm, .tokens_per_minute = 600e3}, long_every);
      EXPECT_EQ(use.refused, 0);
      EXPECT_GE(std::max(use.of_requests, use.of_tokens), 0.995);
      EXPECT_LE(std::max(use.of_requests, use.of_tokens), 1.005);
      EXPECT_LE(use.largest, std::max<int64_t>(rpm == 60 ? 10'000 : 5000, long_every > 0 ? 8192 : 0));
    }
  }
}

TEST(QuotaRequestTest, ATextAboveTheFigureGoesAlone) {
  const RequestPacker packer({.max_texts = 256}, nullptr, 5000);
  EXPECT_TRUE(packer.Takes(0, 0, 8192));
  EXPECT_FALSE(packer.Takes(1, 60, 8192));
  EXPECT_FALSE(packer.Takes(1, 8192, 60));
  EXPECT_TRUE(packer.Takes(82, 4920, 60));
  EXPECT_FALSE(packer.Takes(83, 4980, 60));
}

}  // namespace
}  // namespace reembed
