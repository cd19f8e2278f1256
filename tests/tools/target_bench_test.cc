// SPDX-License-Identifier: Apache-2.0
#include "tools/target_bench.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/job_parts.h"
#include "tools/source_bench.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;

TargetCell Cell(int rows_per_write, int64_t rows_per_second, const std::string& option = "") {
  return {.option = option, .rows_per_write = rows_per_write, .rows = rows_per_second, .elapsed = absl::Seconds(1)};
}

TEST(TargetBenchTest, StepsEndWithTheMost) {
  EXPECT_THAT(RowsPerWriteSteps(1), ElementsAre(1));
  EXPECT_THAT(RowsPerWriteSteps(8), ElementsAre(1, 8));
  EXPECT_THAT(RowsPerWriteSteps(100), ElementsAre(1, 8, 64, 100));
}

TEST(TargetBenchTest, TheKneeIsTheFewestRowsWithinFivePercentOfTheBest) {
  EXPECT_EQ(FindTargetKnee({}), nullptr);
  std::vector<TargetCell> cells = {Cell(1, 100), Cell(8, 949), Cell(64, 951), Cell(512, 1000),
                                   Cell(64, 5000, "type=float16")};
  EXPECT_EQ(FindTargetKnee(cells), &cells[2]) << "another address is another measure";
  cells[3].failure = absl::UnavailableError("gone");
  EXPECT_EQ(FindTargetKnee(cells), &cells[1]);
}

TEST(TargetBenchTest, MadeUpVectorsAreOfUnitLengthAndAlwaysTheSame) {
  constexpr int kDim = 24;
  const std::vector<float> vectors = MadeUpVectors(100, kDim, 7);
  ASSERT_EQ(vectors.size(), 100u * kDim);
  for (size_t i = 0; i < vectors.size(); i += kDim) {
    double square = 0;
    for (size_t k = 0; k < kDim; ++k) square += double{vectors[i + k]} * vectors[i + k];
    EXPECT_NEAR(square, 1, 1e-5);
  }
  EXPECT_EQ(MadeUpVectors(100, kDim, 7), vectors);
  EXPECT_NE(MadeUpVectors(100, kDim, 8), vectors);
}

TEST(JobPartsTest, TheNarrowestIsTheSlowestThatWasMeasured) {
  EXPECT_EQ(FindNarrowest({}), nullptr);
  std::vector<JobPart> parts(3);
  parts[0].rows_per_second = 100;
  parts[1].rows_per_second = 97;
  parts[2].rows_per_second = HUGE_VAL;
  EXPECT_EQ(FindNarrowest(parts), &parts[0]) << "within 5 % they are the same, and the first is named";
  parts[1].rows_per_second = 90;
  EXPECT_EQ(FindNarrowest(parts), &parts[1]);
  parts[1].failure = absl::UnavailableError("gone");
  EXPECT_EQ(FindNarrowest(parts), &parts[0]);
}

TEST(SourceBenchTest, LengthsAreOfNearestRank) {
  SourceReading reading;
  EXPECT_EQ(reading.Length(0.5), 0);
  reading.lengths = {1, 2, 3, 4};
  EXPECT_EQ(reading.Length(0), 1);
  EXPECT_EQ(reading.Length(0.5), 2);
  EXPECT_EQ(reading.Length(0.95), 4);
}

}  // namespace
}  // namespace reembed
