// SPDX-License-Identifier: Apache-2.0
#include "io/embed/embedding_server_quota.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

using Headers = std::vector<std::pair<std::string, std::string>>;

int Admit(int64_t tokens, absl::Duration now, EmbeddingServerQuota* quota) {
  Headers headers;
  return quota->Admit("m", tokens, now, &headers).status;
}

TEST(EmbeddingServerQuotaTest, WithoutLimitsAdmitsEverythingSilently) {
  EmbeddingServerQuota quota({});
  Headers headers;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(quota.Admit("m", 1000000, absl::ZeroDuration(), &headers).status, 0);
    EXPECT_THAT(headers, IsEmpty());
  }
}

TEST(EmbeddingServerQuotaTest, AdmitsTheQuotaAndNoMoreHoweverItIsAsked) {
  EmbeddingServerQuota quota({.requests_per_minute = 600, .window = absl::Seconds(1)});
  int admitted = 0;
  for (int ms = 0; ms < 60000; ++ms) admitted += Admit(1, absl::Milliseconds(ms), &quota) == 0;
  EXPECT_GE(admitted, 600);
  EXPECT_LE(admitted, 610);  // and the bucket that was full at the start
}

TEST(EmbeddingServerQuotaTest, RefusedRequestsTakeNothing) {
  EmbeddingServerQuota quota({.requests_per_minute = 60, .tokens_per_minute = 60, .window = absl::Minutes(1)});
  EXPECT_EQ(Admit(60, absl::ZeroDuration(), &quota), 0);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Admit(1, absl::ZeroDuration(), &quota), 429);
  for (int i = 1; i <= 59; ++i) EXPECT_EQ(Admit(1, absl::Seconds(i), &quota), 0) << i;
}

TEST(EmbeddingServerQuotaTest, WaitingAsToldIsEnough) {
  EmbeddingServerQuota quota({.tokens_per_minute = 1000});
  EXPECT_EQ(Admit(900, absl::ZeroDuration(), &quota), 0);
  Headers headers;
  const EmbeddingServerError error = quota.Admit("m", 300, absl::ZeroDuration(), &headers);
  EXPECT_EQ(error.status, 429);
  EXPECT_EQ(error.type, "tokens");
  EXPECT_THAT(error.message, HasSubstr("Limit 1000, Used 900, Requested 300. Please try again in 12s."));
  EXPECT_THAT(headers, Contains(Pair("retry-after", "12")));
  EXPECT_THAT(headers, Contains(Pair("retry-after-ms", "12000")));
  EXPECT_THAT(headers, Contains(Pair("x-ratelimit-reset-tokens", "54s")));
  EXPECT_EQ(Admit(300, absl::Milliseconds(11990), &quota), 429);
  EXPECT_EQ(Admit(300, absl::Seconds(12), &quota), 0);
}

}  // namespace
}  // namespace reembed
