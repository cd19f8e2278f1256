// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_error.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(ParseApiErrorTest, ReadsEveryProvidersForm) {
  struct {
    const char* body;
    ApiError expected;
  } const cases[] = {
      {R"({"error":{"message":"m","type":"t","param":"p","code":"c"}})", {"c", "t", "p", "m"}},
      {R"({"error":{"message":"m","type":"t","param":null,"code":null}})", {"", "t", "", "m"}},
      {R"({"error":{"message":"m","code":429}})", {"429", "", "", "m"}},
      {R"({"error":{}})", {"", "", "", "the API named no reason"}},
      {R"([{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}])",
       {"400", "API_KEY_INVALID", "", "m"}},
      {R"({"error":"m"})", {"", "", "", "m"}},
      {R"({"error":"m","error_type":"Validation"})", {"", "Validation", "", "m"}},
      {R"({"object":"error","message":"m","type":"t","param":null,"code":null})", {"", "t", "", "m"}},
      {R"({"detail":"m"})", {"", "", "", "m"}},
      {R"({"detail":[{"loc":["body"],"msg":"m","type":"t"}]})", {"", "t", "", "m"}},
      {R"({"detail":{"code":"c","message":"m"}})", {"c", "", "", "m"}},
      {R"({"object":"list","data":[]})", {}},
      {"<html>", {}},
      {"", {}},
      {"[]", {}},
      {"7", {}},
  };
  for (const auto& c : cases) {
    const ApiError error = ParseApiError(c.body);
    EXPECT_EQ(error.code, c.expected.code) << c.body;
    EXPECT_EQ(error.type, c.expected.type) << c.body;
    EXPECT_EQ(error.param, c.expected.param) << c.body;
    EXPECT_EQ(error.message, c.expected.message) << c.body;
  }
}

TEST(ParseApiErrorTest, ReadsWhatGoogleAdds) {
  const ApiError error = ParseApiError(
      R"({"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"x/google.rpc.Help"},)"
      R"({"@type":"x/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED"},)"
      R"({"@type":"x/google.rpc.RetryInfo","retryDelay":"34.5s"}]}})");
  EXPECT_EQ(error.code, "429");
  EXPECT_EQ(error.status, "RESOURCE_EXHAUSTED");
  EXPECT_EQ(error.type, "RATE_LIMIT_EXCEEDED");
  EXPECT_EQ(error.wait, "34.5s");
  EXPECT_EQ(ParseApiError(R"({"error":{"message":"m","details":"none"}})").wait, "");
}

TEST(ParseApiErrorTest, TakesNothingFromBodiesThatAreNotText) {
  EXPECT_TRUE(ParseApiError("\xff\xfe{\"error\":\"m\"}").empty());
  EXPECT_TRUE(ParseApiError("{\"error\":\"\xff\"}").empty());
  EXPECT_TRUE(ParseApiError(std::string("{\"error\":\"m\"}\0", 14)).empty());
  EXPECT_TRUE(ParseApiError(std::string(100000, '[')).empty());
}

}  // namespace
}  // namespace reembed
