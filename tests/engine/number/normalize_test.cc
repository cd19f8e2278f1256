// SPDX-License-Identifier: Apache-2.0
#include "engine/number/normalize.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/simd_targets.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomRow(size_t dim, float scale, std::mt19937_64& random) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> row(dim);
  for (float& x : row) x = uniform(random) * scale;
  row[dim / 2] = scale;  // never zero
  return row;
}

std::vector<float> Reference(const std::vector<float>& row) {
  long double sum = 0;
  for (const float x : row) sum += static_cast<long double>(x) * x;
  std::vector<float> unit;
  for (const float x : row) unit.push_back(static_cast<float>(x / std::sqrt(sum)));
  return unit;
}

// Equal up to one step of the last bit: the order of summation is the target's own.
bool Near(float a, float b) { return a == b || std::nextafter(a, b) == b; }

TEST(NormalizeTest, AgreesWithPlainCodeAtEveryLengthAndScale) {
  ForEachSimdTarget([] {
    constexpr uint64_t kSeed = 31;
    SCOPED_TRACE(kSeed);
    std::mt19937_64 random(kSeed);
    for (const float scale : {1.0f, 1e30f, 3e38f, 1e-30f, 1e-42f, 1e-45f}) {
      for (size_t dim = 1; dim <= 200; ++dim) {
        std::vector<float> row = RandomRow(dim, scale, random);
        const std::vector<float> expected = Reference(row);
        ASSERT_THAT(NormalizeRows(absl::MakeSpan(row), static_cast<int>(dim)), IsOk());
        for (size_t i = 0; i < dim; ++i) {
          ASSERT_TRUE(Near(row[i], expected[i]))
              << row[i] << " for " << expected[i] << " at " << i << " of " << dim << ", scale " << scale;
        }
      }
    }
  });
}

TEST(NormalizeTest, RowsOfAMatrixAreScaledEachByItself) {
  ForEachSimdTarget([] {
    std::mt19937_64 random(5);
    const int dim = 1537;
    std::vector<float> matrix;
    std::vector<float> expected;
    for (const float scale : {1e-42f, 1.0f, 3e38f, 1e10f}) {
      const std::vector<float> row = RandomRow(dim, scale, random);
      const std::vector<float> unit = Reference(row);
      matrix.insert(matrix.end(), row.begin(), row.end());
      expected.insert(expected.end(), unit.begin(), unit.end());
    }
    ASSERT_THAT(NormalizeRows(absl::MakeSpan(matrix), dim), IsOk());
    for (size_t i = 0; i < matrix.size(); ++i) ASSERT_TRUE(Near(matrix[i], expected[i])) << i;
  });
}

TEST(NormalizeTest, EveryAlignmentOfFloatsGivesTheSameBits) {
  ForEachSimdTarget([] {
    std::mt19937_64 random(6);
    const std::vector<float> row = RandomRow(131, 1.0f, random);
    std::vector<float> first;
    for (size_t from = 0; from < 64; ++from) {
      std::vector<float> room(64 + row.size() + 64, 42.0f);
      std::copy(row.begin(), row.end(), room.begin() + from);
      ASSERT_THAT(NormalizeRows(absl::MakeSpan(room).subspan(from, row.size()), 131), IsOk());
      const std::vector<float> unit(room.begin() + from, room.begin() + from + row.size());
      if (first.empty()) first = unit;
      EXPECT_EQ(unit, first) << from;
      EXPECT_EQ(std::count(room.begin(), room.end(), 42.0f), 128) << from;
    }
  });
}

TEST(NormalizeTest, NamesTheFirstRowWithoutDirectionAndLeavesTheRest) {
  ForEachSimdTarget([] {
    for (const float bad : {0.0f, -0.0f, kInfinity, -kInfinity, kNan}) {
      for (size_t place = 0; place < 35; ++place) {
        std::vector<float> matrix(4 * 35, 2.0f);
        std::fill(matrix.begin() + 35 * 2, matrix.begin() + 35 * 3, bad == 0 ? bad : 1.0f);
        matrix[35 * 2 + place] = bad;
        std::vector<float> expected = matrix;
        std::fill(expected.begin(), expected.begin() + 70, static_cast<float>(1 / std::sqrt(35.0)));
        EXPECT_THAT(NormalizeRows(absl::MakeSpan(matrix), 35),
                    HasError(absl::StatusCode::kDataLoss, HasSubstr("row 2 ")));
        EXPECT_EQ(std::memcmp(matrix.data(), expected.data(), matrix.size() * sizeof(float)), 0) << bad;
      }
    }
  });
}

TEST(NormalizeTest, NoRowsAreFineAndHalfRowsAreNot) {
  std::vector<float> five(5, 1.0f);
  EXPECT_THAT(NormalizeRows({}, 3), IsOk());
  EXPECT_THAT(NormalizeRows(absl::MakeSpan(five), 3), HasError(absl::StatusCode::kInternal, HasSubstr("5 numbers")));
  EXPECT_THAT(NormalizeRows(absl::MakeSpan(five), 0), HasError(absl::StatusCode::kInternal, HasSubstr("rows of 0")));
}

TEST(CheckVectorTest, SeesOneBadNumberAnywhere) {
  ForEachSimdTarget([] {
    for (size_t dim = 1; dim <= 200; ++dim) {
      for (size_t place = 0; place < dim; ++place) {
        std::vector<float> vector(dim, -FLT_MAX);
        for (const float bad : {kInfinity, -kInfinity, kNan, -kNan}) {
          vector[place] = bad;
          ASSERT_EQ(CheckVector(vector), VectorFault::kNotFinite) << bad << " at " << place << " of " << dim;
        }
      }
    }
  });
}

TEST(CheckVectorTest, OneDenormalAnywhereIsNotZero) {
  ForEachSimdTarget([] {
    for (size_t dim = 1; dim <= 200; ++dim) {
      std::vector<float> vector(dim, -0.0f);
      EXPECT_EQ(CheckVector(vector), VectorFault::kAllZero) << dim;
      for (size_t place = 0; place < dim; ++place) {
        for (const float small : {FLT_TRUE_MIN, -FLT_TRUE_MIN}) {
          vector[place] = small;
          ASSERT_EQ(CheckVector(vector), VectorFault::kNone) << place << " of " << dim;
        }
        vector[place] = 0;
      }
    }
    EXPECT_EQ(CheckVector({}), VectorFault::kAllZero);
  });
}

TEST(CheckVectorTest, TheLargestNumbersAreFinite) {
  ForEachSimdTarget([] {
    EXPECT_EQ(CheckVector(std::vector<float>(1536, FLT_MAX)), VectorFault::kNone);
    EXPECT_EQ(CheckVector(std::vector<float>(1536, -FLT_MAX)), VectorFault::kNone);
  });
}

}  // namespace
}  // namespace reembed
