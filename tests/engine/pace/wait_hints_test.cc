// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/wait_hints.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace reembed {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

// Wed, 21 Oct 2026 07:28:00 GMT.
absl::Time Clock() { return absl::FromCivil(absl::CivilSecond(2026, 10, 21, 7, 28, 0), absl::UTCTimeZone()); }

std::string ToString(const Headers& headers) {
  std::string all;
  for (const auto& [name, value] : headers) all += name + ": " + value + "\n";
  return all;
}

struct Case {
  Headers headers;
  std::optional<absl::Duration> expected;
};

TEST(NamedWaitTest, ReadsTheHeadersOfARefusal) {
  const std::string moment = std::to_string(absl::ToUnixSeconds(Clock()) + 9);
  const std::vector<Case> cases = {
      {{{"retry-after-ms", "1350"}}, absl::Milliseconds(1350)},
      {{{"retry-after", "2"}, {"retry-after-ms", "1350"}}, absl::Milliseconds(1350)},
      {{{"retry-after-ms", "-1"}, {"retry-after", "2"}}, absl::Seconds(2)},
      {{{"retry-after-ms", "soon"}, {"retry-after", "2"}}, absl::Seconds(2)},
      {{{"x-ms-retry-after-ms", "500"}}, absl::Milliseconds(500)},
      {{{"x-retry-after", "3"}}, absl::Seconds(3)},
      {{{"retry-after", "Wednesday, 21-Oct-26 07:28:30 GMT"}}, absl::Seconds(30)},
      // Dates count from the answer's own clock.
      {{{"date", "Wed, 21 Oct 2026 06:00:00 GMT"}, {"retry-after", "Wed, 21 Oct 2026 06:00:10 GMT"}},
       absl::Seconds(10)},
      {{{"date", "yesterday"}, {"retry-after", "Wed, 21 Oct 2026 07:28:10 GMT"}}, absl::Seconds(10)},
      // A reset alone.
      {{{"x-ratelimit-reset", "20"}}, absl::Seconds(20)},
      {{{"x-ratelimit-reset", moment}}, absl::Seconds(9)},
      {{{"x-ratelimit-reset", moment + "000"}}, absl::Seconds(9)},
      {{{"x-ratelimit-reset", "6m0s"}}, absl::Minutes(6)},
      {{{"x-ratelimit-reset", "120ms"}}, absl::Milliseconds(120)},
      {{{"x-ratelimit-reset", "2026-10-21T07:28:10Z"}}, absl::Seconds(10)},
      {{{"x-ratelimit-reset-after", "1.5"}}, absl::Seconds(1.5)},
      {{{"x-ratelimit-remaining", "0"}, {"x-ratelimit-reset", "20"}}, absl::Seconds(20)},
      {{{"x-ratelimit-remaining", "7"}, {"x-ratelimit-reset", "20"}}, std::nullopt},
      {{{"retry-after", "3"}, {"x-ratelimit-reset", "20"}}, absl::Seconds(3)},
      {{{"retry-after", "0"}, {"x-ratelimit-reset", "20"}}, absl::Seconds(20)},
      // The time until all is there again says nothing of the next request.
      {{{"x-ratelimit-reset-requests", "6m0s"}, {"x-ratelimit-remaining-requests", "0"}}, std::nullopt},
      // IETF, old and new.
      {{{"ratelimit-limit", "100"}, {"ratelimit-remaining", "0"}, {"ratelimit-reset", "50"}}, absl::Seconds(50)},
      {{{"ratelimit-limit", "100, 100;w=60"}, {"ratelimit-remaining", "3"}, {"ratelimit-reset", "50"}}, std::nullopt},
      {{{"ratelimit", "limit=100, remaining=0, reset=50"}}, absl::Seconds(50)},
      {{{"ratelimit", "limit=100, remaining=4, reset=50"}}, std::nullopt},
      {{{"ratelimit", "\"default\";r=0;t=30"}}, absl::Seconds(30)},
      {{{"ratelimit", "\"default\";r=5;t=30"}}, std::nullopt},
      {{{"ratelimit", "\"burst\";r=0;t=2, \"daily\";r=900;t=4000"}}, absl::Seconds(2)},
      {{{"ratelimit", "\"burst\";r=0;t=2, \"hourly\";r=0;t=400"}}, absl::Seconds(400)},
      {{{"ratelimit-policy", "\"a\";q=5;w=10, \"b\";q=9;w=60"}, {"ratelimit", "\"b\";r=0"}}, absl::Minutes(1)},
      {{{"ratelimit", "garbage;;;=,\"\","}}, std::nullopt},
      {{}, std::nullopt},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(NamedWait({.headers = c.headers, .over_quota = true}, Clock()), c.expected) << ToString(c.headers);
  }
}

// Every answer of some APIs has these headers, that of a broken server too.
TEST(NamedWaitTest, AQuotaIsNoReasonToWaitForABrokenServer) {
  const Headers quota = {{"x-ratelimit-reset", "20"}, {"ratelimit", "\"default\";r=0;t=30"}};
  EXPECT_EQ(NamedWait({.headers = quota}, Clock()), std::nullopt);
  const Headers asked = {{"x-ratelimit-reset", "20"}, {"retry-after", "3"}};
  EXPECT_EQ(NamedWait({.headers = asked}, Clock()), absl::Seconds(3));
}

TEST(NamedWaitTest, AsksBodyAndMessageBeforeTheQuota) {
  const Headers headers = {{"x-ratelimit-reset", "20"}};
  EXPECT_EQ(NamedWait({.headers = headers, .in_body = "34.5s", .over_quota = true}, Clock()), absl::Seconds(34.5));
  EXPECT_EQ(NamedWait({.headers = headers, .message = "Please try again in 2 minutes", .over_quota = true}, Clock()),
            absl::Minutes(2));
  const Headers named = {{"retry-after", "2"}};
  EXPECT_EQ(NamedWait({.headers = named, .in_body = "34s", .message = "try again in 1.2s"}, Clock()), absl::Seconds(2));
}

TEST(QuotaOfTest, ReadsOpenAisHeaders) {
  const Headers headers = {{"x-ratelimit-limit-requests", "5000"},
                           {"x-ratelimit-remaining-requests", "4999"},
                           {"x-ratelimit-limit-tokens", "150000"},
                           {"x-ratelimit-remaining-tokens", "149984"}};
  const QuotaReport report = QuotaOf(headers);
  EXPECT_EQ(report.limit_requests, 5000);
  EXPECT_EQ(report.remaining_requests, 4999);
  EXPECT_EQ(report.limit_tokens, 150000);
  EXPECT_EQ(report.remaining_tokens, 149984);
}

TEST(QuotaOfTest, ReadsPoliciesWithAWindow) {
  struct PolicyCase {
    Headers headers;
    double limit_requests, remaining_requests, limit_tokens;
  };
  const std::vector<PolicyCase> cases = {
      {{}, 0, -1, 0},
      {{{"ratelimit-policy", "\"default\";q=100;w=60"}, {"ratelimit", "\"default\";r=50;t=30"}}, 100, 50, 0},
      {{{"ratelimit-policy", "100;w=60"}, {"ratelimit", "limit=100, remaining=40, reset=5"}}, 100, 40, 0},
      {{{"ratelimit-limit", "10, 10;w=1, 5000;w=3600"}, {"ratelimit-remaining", "3"}}, 600, 3, 0},
      {{{"ratelimit-policy", "\"burst\";q=20;w=10, \"minute\";q=60;w=60"}, {"ratelimit", "\"minute\";r=8"}}, 60, 8, 0},
      {{{"ratelimit-policy", "\"tokens\";q=40000;w=60, \"r\";q=9;w=60;qu=\"requests\""}}, 9, -1, 40000},
      // A budget of hours says nothing of the pace, nor does one of bytes, nor one without a window.
      {{{"ratelimit-policy", "\"day\";q=10000;w=86400"}}, 0, -1, 0},
      {{{"ratelimit-policy", "\"b\";q=10;w=60;qu=\"content-bytes\""}}, 0, -1, 0},
      {{{"ratelimit-limit", "100"}, {"ratelimit-remaining", "3"}}, 0, -1, 0},
  };
  for (const PolicyCase& c : cases) {
    const QuotaReport report = QuotaOf(c.headers);
    EXPECT_EQ(report.limit_requests, c.limit_requests) << ToString(c.headers);
    EXPECT_EQ(report.remaining_requests, c.remaining_requests) << ToString(c.headers);
    EXPECT_EQ(report.limit_tokens, c.limit_tokens) << ToString(c.headers);
  }
}

}  // namespace
}  // namespace reembed
