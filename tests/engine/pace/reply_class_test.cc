// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/reply_class.h"

#include <vector>

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

}  // namespace
}  // namespace reembed
