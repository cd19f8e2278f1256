// SPDX-License-Identifier: Apache-2.0
#include "tools/stage_progress.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(StageLineTest, SaysHowFarHowFastAndHowLongStill) {
  EXPECT_EQ(StageLine({.stage = "adding", .done = 120'000, .total = 1'000'000, .elapsed = absl::Seconds(20)}, 200),
            "adding 120,000 of 1,000,000 rows, 12.0 %, 6,000 rows/s, 2:26 left");
  EXPECT_EQ(StageLine({.stage = "saving",
                       .place = "m.db",
                       .done = 3'000'000,
                       .total = 6'000'000,
                       .elapsed = absl::Seconds(2),
                       .unit = StageUnit::kBytes},
                      200),
            "saving 3.0 MB of 6.0 MB, 50.0 %, 1.5 MB/s, 2.0 s left, m.db");
}

// What an earlier process did says nothing of how fast this one is.
TEST(StageLineTest, WhatWasThereBeforeIsNoSpeed) {
  const StageView view = {
      .stage = "adding", .done = 510'000, .total = 1'000'000, .elapsed = absl::Seconds(10), .begun = 500'000};
  EXPECT_EQ(StageLine(view, 200), "adding 510,000 of 1,000,000 rows, 51.0 %, 1,000 rows/s, 8:10 left");
  EXPECT_EQ(StageLine({.stage = "adding", .done = 9, .total = 10, .elapsed = absl::Seconds(10), .begun = 9}, 200),
            "adding 9 of 10 rows, 90.0 %");
}

TEST(StageLineTest, WhatIsNotKnownIsNotSaid) {
  EXPECT_EQ(StageLine({.stage = "reading", .elapsed = absl::Seconds(12)}, 200), "reading, 12 s");
  EXPECT_EQ(StageLine({.stage = "reading", .done = 30, .elapsed = absl::Milliseconds(200)}, 200), "reading 30 rows");
  EXPECT_EQ(StageLine({.stage = "saving", .done = 7, .total = 5, .elapsed = absl::ZeroDuration()}, 200),
            "saving 7 of 5 rows, 100.0 %");
}

TEST(StageLineTest, IsNeverLongerThanTheWindow) {
  const StageView view = {
      .stage = "comparing", .place = "sqlite:m.db", .done = 120'000, .total = 1'000'000, .elapsed = absl::Seconds(20)};
  EXPECT_EQ(StageLine(view, 60), "comparing 120,000 of 1,000,000 rows, 12.0 %, 2:26 left");
  for (size_t columns = 0; columns < 120; ++columns) EXPECT_LE(StageLine(view, columns).size(), columns);
}

TEST(ProgressStyleTest, QuietIsStrongerThanAnyWord) {
  for (const char* const word : {"auto", "on", "json", "off"}) {
    EXPECT_EQ(ProgressStyleOf(word, /*quiet=*/true), ProgressStyle::kOff) << word;
  }
  EXPECT_EQ(ProgressStyleOf("json"), ProgressStyle::kJsonLines);
  EXPECT_EQ(ProgressStyleOf("on"), ProgressStyle::kLine);
}

}  // namespace
}  // namespace reembed
