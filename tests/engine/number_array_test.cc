#include "engine/number_array.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;

std::vector<float> Parse(absl::string_view json) {
  std::vector<float> out(64, -7);
  const std::optional<int> count = ParseNumberArray(json, absl::MakeSpan(out));
  EXPECT_TRUE(count.has_value()) << json;
  out.resize(count.value_or(0));
  return out;
}

TEST(NumberArrayTest, ReadsEveryFormOfNumber) {
  EXPECT_THAT(Parse("[0, -0.5,1e2 , 2.5E-1,\n-3e+0, 12345678, 0.12345678]"),
              ElementsAre(0, -0.5f, 100, 0.25f, -3, 12345678, 0.12345678f));
  EXPECT_THAT(Parse(" [ ] "), ElementsAre());
  EXPECT_TRUE(std::signbit(Parse("[-0.0]").at(0)));
}

TEST(NumberArrayTest, CountsWhatDoesNotFit) {
  std::vector<float> out(2, -7);
  EXPECT_EQ(ParseNumberArray("[1,2,3,4]", absl::MakeSpan(out)), 4);
  EXPECT_THAT(out, ElementsAre(1, 2));
}

TEST(NumberArrayTest, RefusesWhatIsNoNumber) {
  for (const char* bad :
       {"",     "[",   "]",     "[1",    "[1,",     "[1,]",   "[,1]",  "[1 2]", "[+1]",  "[.5]", "[1.]",    "[01]",
        "[1e]", "[-]", "[1e+]", "[0x1]", "[\"1\"]", "[true]", "[nul]", "[1]x",  "[[1]]", "{1}",  "[1.5.2]", "[--1]"}) {
    std::vector<float> out(4);
    EXPECT_EQ(ParseNumberArray(bad, absl::MakeSpan(out)), std::nullopt) << bad;
  }
}

TEST(NumberArrayTest, NotANumberIsReadAsSuch) {
  for (const char* bad : {"[null]", "[NaN]", "[-NaN]", "[Infinity]", "[-Infinity]", "[1e308]", "[1e999]", "[-1e999]"}) {
    EXPECT_FALSE(std::isfinite(Parse(bad).at(0))) << bad;
  }
  EXPECT_EQ(Parse("[1e-999]").at(0), 0);
}

// Digits beyond 19 overflow the fast way; the value must come out right all the same.
TEST(NumberArrayTest, ManyDigitsAreRight) {
  EXPECT_EQ(Parse("[18446744073709551616]").at(0), 18446744073709551616.0f);
  EXPECT_EQ(Parse("[184467440737095516160000000000000]").at(0), 1.8446744073709551616e32f);
  EXPECT_EQ(Parse(absl::StrCat("[0.", std::string(30, '0'), "123]")).at(0), 1.23e-31f);
  EXPECT_EQ(Parse(absl::StrCat("[1", std::string(500, '0'), "e-500]")).at(0), 1);
}

}  // namespace
}  // namespace reembed
