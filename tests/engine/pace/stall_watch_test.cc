// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/stall_watch.h"

#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);

TEST(StallWatchTest, WaitsForWhatMovesHoweverLongItTakes) {
  StallWatch watch(absl::Minutes(2));
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(watch.IsStalled(std::to_string(i), kStart + i * absl::Seconds(100)));
}

TEST(StallWatchTest, GivesUpOnWhatStandsStill) {
  StallWatch watch(absl::Minutes(2));
  EXPECT_FALSE(watch.IsStalled("7/10", kStart));
  EXPECT_FALSE(watch.IsStalled("8/10", kStart + absl::Minutes(1)));
  EXPECT_FALSE(watch.IsStalled("8/10", kStart + absl::Minutes(2)));
  EXPECT_TRUE(watch.IsStalled("8/10", kStart + absl::Minutes(3)));
}

TEST(StallWatchTest, AnEmptyStateStandsStillToo) {
  StallWatch watch(absl::Minutes(2));
  EXPECT_FALSE(watch.IsStalled("", kStart));
  EXPECT_TRUE(watch.IsStalled("", kStart + absl::Minutes(2)));
}

}  // namespace
}  // namespace reembed
