// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_reader.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;
using ::testing::Pair;

TEST(JsonReaderTest, FindsMembersByName) {
  const std::optional<JsonObject> object = JsonObject::Parse(
      R"( { "text" : "a\"b\u00e9" , "count":-12,"list":[1, {"x":"]"}],"\u0061b":null,"half":0.5,"text":"later"} )");
  ASSERT_TRUE(object.has_value());
  EXPECT_THAT(object->members(),
              ElementsAre(Pair("text", R"("a\"b\u00e9")"), Pair("count", "-12"), Pair("list", R"([1, {"x":"]"}])"),
                          Pair("ab", "null"), Pair("half", "0.5"), Pair("text", R"("later")")));
  std::string text = "as it was";
  int64_t count = 7;
  EXPECT_TRUE(object->Take("text", &text));
  EXPECT_EQ(text, "a\"bé");
  EXPECT_TRUE(object->Take("count", &count));
  EXPECT_EQ(count, -12);
  for (const char* const other : {"list", "ab", "half", "none"}) {
    EXPECT_FALSE(object->Take(other, &text)) << other;
    EXPECT_FALSE(object->Take(other, &count)) << other;
  }
  EXPECT_FALSE(object->Take("count", &text));
  EXPECT_FALSE(object->Take("text", &count));
  EXPECT_EQ(text, "a\"bé");
  EXPECT_EQ(count, -12);
  EXPECT_EQ(object->Raw("none"), "");
}

TEST(JsonReaderTest, SaysWhereItIsNoObject) {
  struct Bad {
    const char* json;
    size_t position;
  };
  for (const Bad& bad :
       {Bad{"", 0}, Bad{"[1]", 0}, Bad{"{", 1}, Bad{"{\"a\":1", 6}, Bad{"{\"a\":1,}", 7}, Bad{"{\"a\":1}x", 7},
        Bad{"{\"a\":01}", 7}, Bad{"{\"a\" 1}", 5}, Bad{"{\"a\":NaN}", 5}, Bad{"{a:1}", 1}}) {
    size_t position = 99;
    EXPECT_FALSE(JsonObject::Parse(bad.json, &position).has_value()) << bad.json;
    EXPECT_EQ(position, bad.position) << bad.json;
  }
  EXPECT_FALSE(JsonObject::Parse("{\"a\":\"\xff\"}").has_value());
  EXPECT_TRUE(JsonObject::Parse(" {} ").has_value());
}

TEST(JsonReaderTest, ALoneSurrogateIsNoText) {
  const std::optional<JsonObject> object = JsonObject::Parse(R"({"a":"\ud800"})");
  ASSERT_TRUE(object.has_value());
  std::string text = "as it was";
  EXPECT_FALSE(object->Take("a", &text));
  EXPECT_EQ(text, "as it was");
}

TEST(JsonReaderTest, GivesTheElementsOfAnArray) {
  EXPECT_THAT(JsonElements(R"( [ 1 , "a,b", [2,3], {"c":[]} ] )"),
              Optional(ElementsAre("1", R"("a,b")", "[2,3]", R"({"c":[]})")));
  EXPECT_THAT(JsonElements("[]"), Optional(ElementsAre()));
  for (const char* const bad : {"", "{}", "[1", "[1,]", "[,1]", "[1] 2", "[1 2]"}) {
    EXPECT_EQ(JsonElements(bad), std::nullopt) << bad;
  }
}

TEST(JsonReaderTest, AWalkEndsWhereTheCallerSays) {
  JsonScanner scanner(R"({"a":1,"b":2,"c":3})");
  std::vector<std::string> names;
  EXPECT_FALSE(ForEachMember(&scanner, [&](absl::string_view name, absl::string_view) {
    names.emplace_back(name);
    return name != "b";
  }));
  EXPECT_THAT(names, ElementsAre("a", "b"));
  JsonScanner array("[1,2,3]");
  int64_t seen = 0;
  EXPECT_FALSE(ForEachElement(&array, [&seen](absl::string_view) { return ++seen < 2; }));
  EXPECT_EQ(seen, 2);
}

TEST(JsonReaderTest, TakesPythonsWordsWhereTheScannerDoes) {
  JsonScanner scanner(R"({"a":NaN,"b":[-Infinity]})", JsonScanner::Numbers::kPython);
  std::vector<std::string> values;
  EXPECT_TRUE(ForEachMember(&scanner, [&](absl::string_view, absl::string_view value) {
    values.emplace_back(value);
    return true;
  }));
  EXPECT_THAT(values, ElementsAre("NaN", "[-Infinity]"));
}

}  // namespace
}  // namespace reembed
