// SPDX-License-Identifier: Apache-2.0
#include "engine/wait_meter.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::DoubleNear;
using ::testing::IsEmpty;

const std::vector<std::string> kNames = {"a", "b"};

TEST(SlowestOfTest, IsWhereMostBatchesAre) {
  EXPECT_EQ(SlowestOf({.targets = {0, 0}}, kNames), std::nullopt);
  EXPECT_EQ(SlowestOf({.source = 9, .api = 3, .disk = 1, .targets = {0, 0}}, kNames),
            (WaitedFor{WaitPart::kSource, ""}));
  EXPECT_EQ(SlowestOf({.source = 1, .api = 9, .targets = {3, 2}}, kNames), (WaitedFor{WaitPart::kApi, ""}));
  EXPECT_EQ(SlowestOf({.api = 9, .quota = true, .targets = {3, 2}}, kNames), (WaitedFor{WaitPart::kQuota, ""}));
  EXPECT_EQ(SlowestOf({.api = 4, .processor = 5, .targets = {3, 2}}, kNames), (WaitedFor{WaitPart::kProcessor, ""}));
  EXPECT_EQ(SlowestOf({.api = 2, .disk = 8, .targets = {3, 2}}, kNames), (WaitedFor{WaitPart::kDisk, ""}));
  EXPECT_EQ(SlowestOf({.api = 2, .disk = 3, .targets = {3, 8}}, kNames), (WaitedFor{WaitPart::kTarget, "b"}));
}

TEST(WaitMeterTest, SharesAreOfAllLooks) {
  WaitMeter meter;
  EXPECT_THAT(meter.Shares(), IsEmpty());
  EXPECT_THAT(meter.RecentShares(), IsEmpty());
  for (int i = 0; i < 3; ++i) meter.Note(WaitedFor{WaitPart::kApi, ""});
  for (int i = 0; i < 6; ++i) meter.Note(WaitedFor{WaitPart::kTarget, "b"});
  meter.Note(std::nullopt);
  const std::vector<WaitShare> shares = meter.Shares();
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_EQ(shares[0].what, (WaitedFor{WaitPart::kTarget, "b"}));
  EXPECT_EQ(shares[0].looks, 6);
  EXPECT_EQ(shares[0].of, 10);
  EXPECT_DOUBLE_EQ(shares[0].share, 0.6);
  EXPECT_EQ(shares[1].what, (WaitedFor{WaitPart::kApi, ""}));
  EXPECT_DOUBLE_EQ(shares[1].share, 0.3);
}

TEST(WaitMeterTest, OfLateIsWhatCountsRecently) {
  WaitMeter meter;
  for (int i = 0; i < 100'000; ++i) meter.Note(WaitedFor{WaitPart::kApi, ""});
  for (int i = 0; i < 3 * WaitMeter::kRecentLooks; ++i) meter.Note(WaitedFor{WaitPart::kDisk, ""});
  EXPECT_EQ(meter.Shares().front().what, (WaitedFor{WaitPart::kApi, ""}));
  EXPECT_EQ(meter.RecentShares().front().what, (WaitedFor{WaitPart::kDisk, ""}));
  EXPECT_THAT(meter.RecentShares().front().share, DoubleNear(0.95, 0.01));
}

TEST(WaitMeterTest, RunsAreAddedByTheirLooks) {
  WaitMeter one, other;
  for (int i = 0; i < 30; ++i) one.Note(WaitedFor{WaitPart::kApi, ""});
  for (int i = 0; i < 10; ++i) other.Note(WaitedFor{WaitPart::kDisk, ""});
  std::vector<WaitShare> sum;
  Add(one.Shares(), &sum);
  Add(other.Shares(), &sum);
  ASSERT_EQ(sum.size(), 2u);
  EXPECT_DOUBLE_EQ(sum[0].share, 0.75);
  EXPECT_DOUBLE_EQ(sum[1].share, 0.25);
  Add(other.Shares(), &sum);
  EXPECT_DOUBLE_EQ(sum[1].share, 0.4);
}

}  // namespace
}  // namespace reembed
