// SPDX-License-Identifier: Apache-2.0
#include "io/store/postgres/postgres_vector.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/number/small_float.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(PostgresVectorTest, EveryHalfSurvivesTheWayThroughAFloat) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float number = FloatFromHalf(static_cast<uint16_t>(half));
    if ((half & 0x7fff) > 0x7c00) {
      EXPECT_TRUE(std::isnan(number));
    } else {
      ASSERT_EQ(HalfFromFloat(number), half) << number;
    }
  }
}

TEST(PostgresVectorTest, RoundsToTheNearestHalfAndTiesToEven) {
  for (uint32_t half = 0; half < 0x7bff; ++half) {
    const float below = FloatFromHalf(static_cast<uint16_t>(half));
    const float above = FloatFromHalf(static_cast<uint16_t>(half + 1));
    const float middle = below + (above - below) / 2;  // exact: a float has 13 bits more
    ASSERT_EQ(HalfFromFloat(middle), half % 2 == 0 ? half : half + 1) << middle;
    ASSERT_EQ(HalfFromFloat(std::nextafterf(middle, below)), half) << middle;
    ASSERT_EQ(HalfFromFloat(-std::nextafterf(middle, above)), 0x8000 | (half + 1)) << middle;
  }
  EXPECT_EQ(HalfFromFloat(65519.99f), 0x7bff);
  EXPECT_EQ(HalfFromFloat(65520.0f), 0x7c00);
  EXPECT_EQ(HalfFromFloat(1e30f), 0x7c00);
  EXPECT_EQ(HalfFromFloat(std::nanf("")), 0x7e00);
}

TEST(PostgresVectorTest, WhatIsNotFiniteIsNoVector) {
  std::vector<float> back(2);
  const std::string nan("\0\0\xc0\x7f\0\0\0\0", 8);  // little-endian
  EXPECT_EQ(DecodePostgresVector(PostgresForm::kBytes, nan, absl::MakeSpan(back)), -1);
  EXPECT_EQ(DecodePostgresVector(PostgresForm::kJson, "[1,null]", absl::MakeSpan(back)), -1);
  EXPECT_EQ(DecodePostgresVector(PostgresForm::kJson, "[1e39,1]", absl::MakeSpan(back)), -1);
  EXPECT_EQ(DecodePostgresVector(PostgresForm::kJson, "[1,2]", absl::MakeSpan(back)), 2);
}

TEST(PostgresVectorTest, WhatIsCutShortIsNoVector) {
  std::string element;
  const float numbers[] = {1.5f, -2.0f, 3.0f};
  for (const PostgresForm form : {PostgresForm::kVector, PostgresForm::kHalfvec, PostgresForm::kBit}) {
    element.clear();
    ASSERT_TRUE(AppendPostgresVector(form, numbers, &element));
    const absl::string_view cell = absl::string_view(element).substr(4);
    float out[3];
    EXPECT_EQ(DecodePostgresVector(form, cell, absl::MakeSpan(out)), 3);
    for (size_t size = 0; size < cell.size(); ++size) {
      EXPECT_EQ(DecodePostgresVector(form, cell.substr(0, size), absl::MakeSpan(out)), -1) << size;
    }
    // A narrow place takes the first numbers and hears how many there are.
    EXPECT_EQ(DecodePostgresVector(form, cell, absl::MakeSpan(out, 1)), 3);
  }
}

}  // namespace
}  // namespace reembed
