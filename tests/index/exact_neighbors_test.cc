// SPDX-License-Identifier: Apache-2.0
#include "index/exact_neighbors.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/brute_force.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kDim = 24;

class ExactNeighborsTest : public ::testing::TestWithParam<Metric> {
 protected:
  const std::vector<float> rows_ = ClusteredRows(2600, kDim, 11);    // more than two blocks
  const std::vector<float> queries_ = ClusteredRows(300, kDim, 12);  // more than one group
};

TEST_P(ExactNeighborsTest, FindsWhatOneQueryAfterTheOtherFinds) {
  for (const int threads : {1, 3}) {
    const auto found = FindExactNeighbors(rows_, queries_, kDim, {.metric = GetParam(), .k = 7, .threads = threads});
    ASSERT_THAT(found, IsOk());
    for (int64_t query = 0; query < 300; query += 13) {
      MemoryReader reader(rows_, kDim);
      const auto hits =
          SearchExactly(&reader, absl::MakeConstSpan(queries_).subspan(query * kDim, kDim), 7, GetParam());
      ASSERT_THAT(hits, IsOk());
      for (int i = 0; i < 7; ++i) EXPECT_EQ(found->rows[query * 7 + i], std::get<int64_t>((*hits)[i].key)) << query;
    }
  }
}

TEST_P(ExactNeighborsTest, ARowThatIsTheQueryIsLeftOut) {
  std::vector<int64_t> self = {5, 2000};
  std::vector<float> queries;
  for (const int64_t row : self)
    queries.insert(queries.end(), rows_.begin() + row * kDim, rows_.begin() + (row + 1) * kDim);
  const auto with = FindExactNeighbors(rows_, queries, kDim, {.metric = GetParam(), .k = 2});
  const auto without = FindExactNeighbors(rows_, queries, kDim, {.metric = GetParam(), .k = 2, .excluded = self});
  ASSERT_THAT(with, IsOk());
  ASSERT_THAT(without, IsOk());
  if (GetParam() != Metric::kInnerProduct) {
    EXPECT_EQ(with->rows[0], 5);
    EXPECT_EQ(without->rows[0], with->rows[1]);
  }
  EXPECT_THAT(without->rows, testing::Each(testing::AllOf(testing::Ne(5), testing::Ne(2000))));
}

INSTANTIATE_TEST_SUITE_P(Metrics, ExactNeighborsTest,
                         testing::Values(Metric::kCosine, Metric::kInnerProduct, Metric::kL2),
                         [](const auto& info) { return std::string(MetricName(info.param)); });

TEST(ExactNeighborsEdgeTest, EqualRowsComeInTheirOrderAndMissingOnesAreMinusOne) {
  const std::vector<float> rows = {1, 0, 0, 1, 1, 0, 0, 0};
  const auto found = FindExactNeighbors(rows, {1.0f, 0.0f}, 2, {.metric = Metric::kCosine, .k = 5});
  ASSERT_THAT(found, IsOk());
  EXPECT_THAT(found->rows, ElementsAre(0, 2, 1, -1, -1)) << "the row of zeros has no direction";
}

// Far from the origin a product of single precision has no digits left for the distance.
TEST(ExactNeighborsEdgeTest, RowsFarFromTheOriginAreToldApart) {
  constexpr int64_t kRows = 3000;
  std::vector<float> rows;
  for (int64_t i = 0; i < kRows; ++i) {
    rows.push_back(10000.0f + 0.01f * static_cast<float>(i % 1000));
    rows.push_back(-20000.0f - 0.01f * static_cast<float>(i / 1000));
  }
  const auto found = FindExactNeighbors(rows, {10005.0f, -20000.0f}, 2, {.metric = Metric::kL2, .k = 1});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->rows[0], 500);
}

TEST(ExactNeighborsEdgeTest, WidthsThatDoNotFitAreRefused) {
  EXPECT_THAT(FindExactNeighbors({1.0f, 2.0f, 3.0f}, {1.0f, 2.0f}, 2, {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("exact neighbours")));
  EXPECT_THAT(FindExactNeighbors({1.0f, 2.0f}, {1.0f, 2.0f}, 2, {.k = 0}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("k = 0")));
}

}  // namespace
}  // namespace reembed
