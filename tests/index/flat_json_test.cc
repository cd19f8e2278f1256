// SPDX-License-Identifier: Apache-2.0
#include "index/flat_json.h"

#include <random>
#include <string>

#include "engine/number/json_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(FlatJsonTest, ReadsTextsNumbersAndTruth) {
  const absl::StatusOr<FlatJson> object =
      ParseFlatJson(R"( { "a" : -12 , "b":"x\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é","c":true,"d":false} )");
  ASSERT_THAT(object, IsOk());
  EXPECT_THAT(*object, UnorderedElementsAre(Pair("a", FlatJsonValue(int64_t{-12})),
                                            Pair("b", FlatJsonValue("x\"\\/\b\f\n\r\té😀é")),
                                            Pair("c", FlatJsonValue(true)), Pair("d", FlatJsonValue(false))));
  EXPECT_THAT(ParseFlatJson("{}"), IsOk());
}

TEST(FlatJsonTest, ANumberWithAFractionIsADouble) {
  const absl::StatusOr<FlatJson> object = ParseFlatJson(R"({"a":0.9375,"b":-2e3,"c":7})");
  ASSERT_THAT(object, IsOk());
  EXPECT_THAT(*object, UnorderedElementsAre(Pair("a", FlatJsonValue(0.9375)), Pair("b", FlatJsonValue(-2000.0)),
                                            Pair("c", FlatJsonValue(int64_t{7}))));
}

TEST(FlatJsonTest, RefusesEverythingElse) {
  for (const char* const bad : {"",
                                "{",
                                "}",
                                "[]",
                                "1",
                                "{\"a\"}",
                                "{\"a\":}",
                                "{\"a\":1,}",
                                "{\"a\":1}x",
                                "{\"a\":.5}",
                                "{\"a\":1e999}",
                                "{\"a\":1.5.2}",
                                "{\"a\":1e}",
                                "{\"a\":inf}",
                                "{\"a\":null}",
                                "{\"a\":{}}",
                                "{\"a\":1,\"a\":2}",
                                "{\"a\":\"x}",
                                "{\"a\":\"\\x\"}",
                                "{\"a\":\"\\u12\"}",
                                "{\"a\":\"\\ud800\"}",
                                "{\"a\":\"\\udc00\"}",
                                "{\"a\":99999999999999999999}",
                                "{\"a\":--1}",
                                "{a:1}",
                                "{\"a\":\"\n\"}",
                                "{\"a\":tru}"}) {
    EXPECT_THAT(ParseFlatJson(bad), HasError(absl::StatusCode::kInvalidArgument, testing::HasSubstr("at byte"))) << bad;
  }
}

TEST(FlatJsonTest, ReadsEveryTextThatIsWritten) {
  constexpr uint64_t kSeed = 3;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (size_t i = random() % 40; i > 0; --i) text.push_back(static_cast<char>(random() % 128));
    std::string json = "{\"t\":";
    AppendJsonString(text, &json);
    const absl::StatusOr<FlatJson> object = ParseFlatJson(json + "}");
    ASSERT_THAT(object, IsOk());
    EXPECT_EQ(std::get<std::string>(object->at("t")), text);
  }
}

}  // namespace
}  // namespace reembed
