// SPDX-License-Identifier: Apache-2.0
#include "io/embed/body_fields.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/body_wait.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

// The body of a request for one text.
std::string Body(const char* dialect, const std::vector<BodyField>& fields) {
  WireForm wire = FindDialect(dialect)->wire({.model = "m"});
  EXPECT_THAT(AddBodyFields(fields, &wire), IsOk());
  return wire.head + wire.before_text + "\"t\"" + wire.after_text + wire.tail;
}

TEST(ParseBodyFieldTest, TakesJsonOrAString) {
  const auto json = [](const char* text) { return ParseBodyField(text)->json; };
  EXPECT_EQ(ParseBodyField("input_type=passage")->name, "input_type");
  EXPECT_EQ(json("input_type=passage"), "\"passage\"");
  EXPECT_EQ(json("a=true"), "true");
  EXPECT_EQ(json("a=\"true\""), "\"true\"");
  EXPECT_EQ(json("a=-1.5e3"), "-1.5e3");
  EXPECT_EQ(json("a={\"b\": [1, null]}"), "{\"b\": [1, null]}");
  EXPECT_EQ(json("a=01"), "\"01\"");
  EXPECT_EQ(json("a=x=y"), "\"x=y\"");
  EXPECT_EQ(json("a="), "\"\"");
  EXPECT_EQ(json("a={broken"), "\"{broken\"");
  EXPECT_EQ(json("a=1 2"), "\"1 2\"");
  EXPECT_EQ(json("a=NaN"), "\"NaN\"");
  for (const char* wrong : {"a", "=b", "", " =b", "a=\xff"}) {
    EXPECT_THAT(ParseBodyField(wrong), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("expected "))) << wrong;
  }
}

TEST(AddBodyFieldsTest, PutsThemWhereTheApiReadsThem) {
  EXPECT_EQ(Body("openai", {{"input_type", "\"passage\""}, {"x", "1"}}),
            R"({"model":"m","input":["t"],"encoding_format":"base64","input_type":"passage","x":1})");
  EXPECT_EQ(Body("tei", {{"prompt_name", "\"query\""}}),
            R"({"inputs":["t"],"normalize":true,"truncate":false,"prompt_name":"query"})");
  EXPECT_THAT(Body("gemini", {{"title", "\"x\""}}), HasSubstr(R"("taskType":"RETRIEVAL_DOCUMENT","title":"x"}]})"));
}

TEST(AddBodyFieldsTest, NeverReplacesWhatWeWrite) {
  const auto add = [](const char* dialect, const std::vector<BodyField>& fields) {
    WireForm wire = FindDialect(dialect)->wire({.model = "m"});
    return AddBodyFields(fields, &wire);
  };
  EXPECT_THAT(add("openai", {{"input", "[]"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("input: reembed writes this field")));
  EXPECT_THAT(add("openai", {{"model", "1"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("set the model")));
  EXPECT_THAT(add("voyage", {{"input_type", "1"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("set the input type")));
  EXPECT_THAT(add("gemini", {{"content", "1"}}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("content")));
  EXPECT_THAT(add("openai", {{"x", "1"}, {"x", "2"}}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("given twice")));
}

TEST(WaitInBodyTest, FindsTheFieldWhereverItIs) {
  EXPECT_EQ(WaitInBody(R"({"error":{"message":"x","retry_after":12}})"), "12");
  EXPECT_EQ(WaitInBody(R"({"error":"loading","estimated_time":20.5})"), "20.5");
  EXPECT_EQ(WaitInBody(R"({"retry_after_ms":1500})"), "1500ms");
  EXPECT_EQ(WaitInBody(R"({"detail":{"retryAfter":"2 minutes"}})"), "2 minutes");
  EXPECT_EQ(WaitInBody(R"([{"error":{"code":429,"metadata":{"headers":{"X-RateLimit-Reset":"1745000000000"}}}}])"),
            "1745000000000");
  EXPECT_EQ(WaitInBody(R"({"error":{"message":"x"}})"), "");
  EXPECT_EQ(WaitInBody(R"({"retry_after":null})"), "");
  EXPECT_EQ(WaitInBody("<html>"), "");
  EXPECT_EQ(WaitInBody(""), "");
}

}  // namespace
}  // namespace reembed
