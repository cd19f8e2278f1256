// SPDX-License-Identifier: Apache-2.0
#include "index/brute_force.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/simd_targets.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;

double PlainScore(const float* a, const float* b, int dim, Metric metric) {
  double dot = 0;
  double aa = 0;
  double bb = 0;
  double apart = 0;
  for (int i = 0; i < dim; ++i) {
    dot += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
    apart += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  if (metric == Metric::kL2) return apart;
  return metric == Metric::kCosine ? dot / std::sqrt(aa * bb) : dot;
}

TEST(SearchExactlyTest, AgreesWithSortingEverything) {
  ForEachSimdTarget([] {
    constexpr uint64_t kSeed = 17;
    SCOPED_TRACE(kSeed);
    for (const int dim : {1, 3, 16, 37, 64, 131}) {
      const std::vector<float> rows = ClusteredRows(300, dim, kSeed);
      const std::vector<float> query = ClusteredRows(1, dim, kSeed + 1);
      for (const Metric metric : {Metric::kCosine, Metric::kInnerProduct, Metric::kL2}) {
        std::vector<std::pair<double, int64_t>> expected;
        for (int64_t i = 0; i < 300; ++i) {
          const double score = PlainScore(query.data(), rows.data() + i * dim, dim, metric);
          expected.emplace_back(metric == Metric::kL2 ? score : -score, i);
        }
        std::sort(expected.begin(), expected.end());
        MemoryReader reader(rows, dim);
        const absl::StatusOr<std::vector<Hit>> hits = SearchExactly(&reader, query, 10, metric);
        ASSERT_THAT(hits, IsOk());
        ASSERT_EQ(hits->size(), 10u);
        for (int i = 0; i < 10; ++i) {
          const double score = metric == Metric::kL2 ? expected[i].first : -expected[i].first;
          EXPECT_NEAR((*hits)[i].score, score, 1e-5 * std::max(1.0, std::abs(score)));
          // In one dimension every cosine is 1 or -1, and rounding decides who is first.
          if (dim == 1) continue;
          EXPECT_EQ((*hits)[i].key, Key(expected[i].second)) << dim << " " << MetricName(metric);
        }
      }
    }
  });
}

TEST(SearchExactlyTest, FewerRowsThanAskedForAreAllGiven) {
  MemoryReader reader({1, 0, 0, 1}, 2);
  const absl::StatusOr<std::vector<Hit>> hits = SearchExactly(&reader, {0, 2}, 10, Metric::kCosine);
  ASSERT_THAT(hits, IsOk());
  ASSERT_EQ(hits->size(), 2u);
  EXPECT_EQ((*hits)[0].key, Key(int64_t{1}));
  EXPECT_EQ((*hits)[0].score, 1);
}

TEST(SearchExactlyTest, OfEquallyNearRowsTheEarlierWins) {
  MemoryReader reader({1, 0, 1, 0, 1, 0, 1, 0}, 2);
  const absl::StatusOr<std::vector<Hit>> hits = SearchExactly(&reader, {1, 0}, 2, Metric::kInnerProduct);
  ASSERT_THAT(hits, IsOk());
  EXPECT_EQ((*hits)[0].key, Key(int64_t{0}));
  EXPECT_EQ((*hits)[1].key, Key(int64_t{1}));
}

TEST(SearchExactlyTest, PassesOverRowsWithoutDirectionAndSurvivesLongOnes) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  MemoryReader reader({0, 0, kNan, 1, 3e38f, 3e38f, 1e-42f, 0}, 2);
  const absl::StatusOr<std::vector<Hit>> hits = SearchExactly(&reader, {1, 1}, 10, Metric::kCosine);
  ASSERT_THAT(hits, IsOk());
  ASSERT_EQ(hits->size(), 2u);
  EXPECT_EQ((*hits)[0].key, Key(int64_t{2}));
  EXPECT_NEAR((*hits)[0].score, 1, 1e-6);
  EXPECT_NEAR((*hits)[1].score, std::sqrt(0.5), 1e-6);
}

TEST(SearchExactlyTest, RefusesAQueryThatHasNoAnswer) {
  MemoryReader reader({1, 0}, 2);
  EXPECT_THAT(SearchExactly(&reader, {1, 0, 0}, 1, Metric::kL2),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("2 numbers")));
  EXPECT_THAT(SearchExactly(&reader, {0, 0}, 1, Metric::kCosine),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("only zeros")));
  EXPECT_THAT(SearchExactly(&reader, {1, 0}, 0, Metric::kCosine),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("k of at least 1")));
}

}  // namespace
}  // namespace reembed
