// SPDX-License-Identifier: Apache-2.0
#include "engine/inside_status.h"

#include "gtest/gtest.h"

namespace reembed {
namespace {

ApiError Said(const std::string& message, const std::string& code = "") { return {.code = code, .message = message}; }

TEST(StatusInsideTest, TakesACodeThatIsAStatus) {
  EXPECT_EQ(StatusInside(Said("whatever", "429")), 429);
  EXPECT_EQ(StatusInside(Said("rate limit", "503")), 503);
  EXPECT_EQ(StatusInside(Said("whatever", "17")), 500);
}

TEST(StatusInsideTest, ReadsTheWordsOfThoseWhoAlwaysSay200) {
  struct Case {
    const char* message;
    const char* code;
    int status;
  };
  const Case cases[] = {
      // Baidu Qianfan.
      {"Open api daily request limit reached", "17", 402},
      {"Open api qps request limit reached", "18", 429},
      {"Open api total request limit reached", "19", 402},
      {"Open api request limit reached", "4", 429},
      {"Access token invalid or no longer valid", "110", 401},
      {"Access token expired", "111", 401},
      {"Rate limit reached for RPM", "336501", 429},
      // MiniMax.
      {"rate limit", "1002", 429},
      {"login fail: Please carry the API secret key in the 'Authorization' field", "1004", 401},
      {"insufficient balance", "1008", 402},
      {"token limit: TPM", "1039", 429},
      {"invalid api key", "2049", 401},
      // LM Studio.
      {"Unexpected endpoint or method. (POST /embeddings)", "", 404},
      {"Loading model", "", 503},
      {"something broke", "", 500},
      {"the wrpm is unknown", "", 500},
  };
  for (const Case& c : cases) EXPECT_EQ(StatusInside(Said(c.message, c.code)), c.status) << c.message;
}

TEST(StatusInsideTest, DecidesWhatBecomesOfTheRun) {
  EXPECT_EQ(ClassifyReply(200, Said("Open api daily request limit reached", "17"), 2), ReplyClass::kStop);
  EXPECT_TRUE(IsOutOfQuota(200, Said("Open api daily request limit reached", "17")));
  EXPECT_EQ(ClassifyReply(200, Said("Open api qps request limit reached", "18"), 2), ReplyClass::kRetryWait);
  EXPECT_EQ(ClassifyReply(200, Said("invalid api key", "2049"), 2), ReplyClass::kStop);
  EXPECT_TRUE(IsBadKey(200, Said("invalid api key", "2049")));
  EXPECT_EQ(ClassifyReply(200, Said("Unexpected endpoint or method. (POST /embeddings)"), 2), ReplyClass::kStop);
  EXPECT_EQ(ClassifyReply(200, Said("something broke"), 2), ReplyClass::kRetry);
}

}  // namespace
}  // namespace reembed
