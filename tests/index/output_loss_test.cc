// SPDX-License-Identifier: Apache-2.0
#include "index/output_loss.h"

#include <algorithm>
#include <vector>

#include "engine/output_form.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "index/brute_force.h"
#include "tests/fakes/status_matchers.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

std::vector<float> Rounded(std::vector<float> matrix, const OutputForm& form) {
  RoundLikeOutput(form, absl::MakeSpan(matrix));
  return matrix;
}

// The same rows lose nothing, and each step to fewer bits or numbers loses more.
TEST(OutputLossTest, LessRoomFindsLess) {
  std::vector<float> rows = ClusteredRows(1000, 32, 3);
  for (float& x : rows) x /= 8;  // for int8
  const auto same = MeasureOutputLoss(rows, 32, rows, 32, Metric::kCosine, 100, 2);
  ASSERT_THAT(same, IsOk());
  EXPECT_EQ(same->recall_at_1, 1);
  EXPECT_EQ(same->recall_at_10, 1);
  EXPECT_EQ(same->queries, 100);
  EXPECT_EQ(same->rows, 1000);
  double before = 1;
  for (const OutputType type : {OutputType::kFloat16, OutputType::kInt8, OutputType::kBinary}) {
    const auto loss = MeasureOutputLoss(rows, 32, Rounded(rows, {.type = type}), 32,
                                        type == OutputType::kBinary ? Metric::kL2 : Metric::kCosine, 100, 2);
    ASSERT_THAT(loss, IsOk());
    EXPECT_LE(loss->recall_at_10, before) << OutputTypeName(type);
    EXPECT_GT(loss->recall_at_10, 0.1) << OutputTypeName(type);
    before = loss->recall_at_10;
  }
  EXPECT_LT(before, 0.95);
}

// Counted by hand over one query at a time.
TEST(OutputLossTest, TheShareIsThatOfARowByRowSearch) {
  const std::vector<float> rows = ClusteredRows(300, 16, 9);
  std::vector<float> narrow;
  for (int64_t row = 0; row < 300; ++row) narrow.insert(narrow.end(), &rows[row * 16], &rows[row * 16] + 4);
  const auto loss = MeasureOutputLoss(rows, 16, narrow, 4, Metric::kCosine, 300, 1);
  ASSERT_THAT(loss, IsOk());
  const auto nearest = [](const std::vector<float>& matrix, int dim, int64_t row) {
    MemoryReader reader(matrix, dim);
    const auto hits = SearchExactly(&reader, absl::MakeConstSpan(matrix).subspan(row * dim, dim), 11, Metric::kCosine);
    EXPECT_THAT(hits, IsOk());
    std::vector<int64_t> keys;
    for (const Hit& hit : *hits) {
      if (std::get<int64_t>(hit.key) != row && keys.size() < 10) keys.push_back(std::get<int64_t>(hit.key));
    }
    return keys;
  };
  int64_t found = 0, first = 0;
  for (int64_t row = 0; row < 300; ++row) {
    const auto truth = nearest(rows, 16, row), got = nearest(narrow, 4, row);
    first += truth[0] == got[0] ? 1 : 0;
    for (const int64_t key : got) found += std::count(truth.begin(), truth.end(), key);
  }
  EXPECT_DOUBLE_EQ(loss->recall_at_10, static_cast<double>(found) / 3000);
  EXPECT_DOUBLE_EQ(loss->recall_at_1, static_cast<double>(first) / 300);
}

TEST(OutputLossTest, ShapesMustFit) {
  EXPECT_FALSE(MeasureOutputLoss({}, 4, {}, 4, Metric::kCosine, 10, 1).ok());
  const std::vector<float> two(8, 1.0f), one(4, 1.0f);
  EXPECT_FALSE(MeasureOutputLoss(two, 4, one, 4, Metric::kCosine, 10, 1).ok());
  EXPECT_THAT(MeasureOutputLoss(two, 4, two, 4, Metric::kCosine, 10, 1), IsOk());
}

}  // namespace
}  // namespace reembed
