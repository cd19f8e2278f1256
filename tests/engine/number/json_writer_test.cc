// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_writer.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(JsonWriterTest, WritesMembersInTheirOrder) {
  EXPECT_EQ(JsonWriter().ToString(), "{}");
  const std::string text = "a\"b\n\xC3\xA9";
  EXPECT_EQ(JsonWriter()
                .Add("z", text)
                .Add("word", "plain")
                .Add("int", 7)
                .Add("long", std::numeric_limits<int64_t>::min())
                .Add("half", 0.5)
                .Add("infinite", std::numeric_limits<double>::infinity())
                .AddRaw("list", "[1]")
                .Add("na\"me", absl::string_view())
                .ToString(),
            "{\"z\":\"a\\\"b\\n\xC3\xA9\",\"word\":\"plain\",\"int\":7,\"long\":-9223372036854775808,\"half\":0.5,"
            "\"infinite\":null,\"list\":[1],\"na\\\"me\":\"\"}");
}

TEST(JsonWriterTest, JoinsElements) {
  EXPECT_EQ(JsonArray({}), "[]");
  EXPECT_EQ(JsonArray({"1", JsonWriter().Add("a", 2).ToString()}), "[1,{\"a\":2}]");
}

}  // namespace
}  // namespace reembed
