// SPDX-License-Identifier: Apache-2.0
#include "engine/number/float_list.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

std::string ListOf(const std::vector<float>& numbers) {
  std::string text = "before ";
  AppendFloatList(numbers, &text);
  EXPECT_EQ(text.substr(0, 8), "before [");
  EXPECT_EQ(text.back(), ']');
  return text.substr(8, text.size() - 9);
}

// Each number is read back with the C library, directly and by way of double.
void ExpectComeBack(const std::vector<float>& numbers) {
  const std::string list = ListOf(numbers);
  const char* at = list.c_str();
  for (const float number : numbers) {
    char* end = nullptr;
    const float read = std::strtof(at, &end);
    const float doubled = static_cast<float>(std::strtod(at, nullptr));
    const std::string text(at, static_cast<size_t>(end - at));
    ASSERT_EQ(std::bit_cast<uint32_t>(read), std::bit_cast<uint32_t>(number)) << text;
    ASSERT_EQ(std::bit_cast<uint32_t>(doubled), std::bit_cast<uint32_t>(number)) << text << " as double";
    ASSERT_NE(text.find_first_of(".e"), std::string::npos) << text;
    ASSERT_LE(text.size(), 18u) << text;
    ASSERT_TRUE(*end == ',' || *end == '\0') << text;
    at = end + 1;
  }
  EXPECT_EQ(at, list.c_str() + list.size() + 1);
}

TEST(FloatListTest, IsOneListWhateverTheNumbers) {
  EXPECT_EQ(ListOf({}), "");
  EXPECT_EQ(ListOf({1}), "1.0");
  EXPECT_EQ(ListOf({0.0f, -0.0f, -3.0f, 0.5f, 1e20f, 1e-9f}), "0.0,-0.0,-3.0,0.5,1e+20,1e-09");
  EXPECT_EQ(ListOf({0.1f, -0.012345678f, 0.99999994f}), "0.100000001,-0.0123456782,0.99999994");
}

TEST(FloatListTest, TheEndsOfEveryBinadeComeBack) {
  std::vector<float> numbers = {0.0f, -0.0f, std::numeric_limits<float>::denorm_min(),
                                std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};
  for (uint32_t exponent = 0; exponent < 255; ++exponent) {
    for (const uint32_t mantissa : {0x0u, 0x1u, 0x2u, 0x3fffffu, 0x400000u, 0x400001u, 0x7ffffeu, 0x7fffffu}) {
      for (const uint32_t sign : {0u, 0x80000000u}) {
        numbers.push_back(std::bit_cast<float>(sign | exponent << 23 | mantissa));
      }
    }
  }
  ExpectComeBack(numbers);
}

// REEMBED_NUMBERS asks for more than the suite has.
TEST(FloatListTest, RandomNumbersComeBack) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  const char* const asked = std::getenv("REEMBED_NUMBERS");
  for (int64_t left = asked == nullptr ? 2'000'000 : std::atoll(asked); left > 0; left -= 10'000) {
    std::vector<float> numbers;
    while (numbers.size() < 10'000) {
      // Half of them below 1, as in embeddings, half with any bits.
      const uint32_t bits = static_cast<uint32_t>(random());
      const float number = numbers.size() % 2 == 0
                               ? std::bit_cast<float>((bits & 0x807fffff) | (102 + (bits >> 23) % 25) << 23)
                               : std::bit_cast<float>(bits);
      if (std::isfinite(number)) numbers.push_back(number);
    }
    ASSERT_NO_FATAL_FAILURE(ExpectComeBack(numbers));
  }
}

}  // namespace
}  // namespace reembed
