// SPDX-License-Identifier: Apache-2.0
#include "engine/reject_meter.h"

#include <cctype>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/recent_pace.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(RejectMeterTest, GathersReasonsThatDifferInFiguresOnly) {
  RejectMeter meter;
  meter.Note(int64_t{7}, absl::DataLossError("its vector is zero"));
  meter.Note(KeyView("a"), absl::InvalidArgumentError("expected at most 8,191 tokens, got 9000"));
  meter.Note(int64_t{8}, absl::InvalidArgumentError("expected at most 8,191 tokens, got 12,345"));
  meter.Note(int64_t{9}, absl::DataLossError("expected at most 8,191 tokens, got 12,345"));
  const std::vector<RejectedFor> list = meter.List();
  ASSERT_EQ(list.size(), 3u) << "another code is another reason";
  EXPECT_EQ(list[0].rows, 2);
  EXPECT_EQ(list[0].reason.message(), "expected at most 8,191 tokens, got 9000") << "that of the first";
  EXPECT_EQ(KeyText(ViewOf(list[0].example)), "a");
  EXPECT_EQ(list[1].rows, 1);
}

TEST(RejectMeterTest, MoreReasonsThanCanBeNamedAreCountedTogether) {
  RejectMeter meter;
  int64_t noted = 0;
  for (char c = 'A'; c <= 'Z'; ++c) {
    for (int i = 0; i < 2; ++i, ++noted) meter.Note(noted, absl::UnavailableError(std::string(1, c)));
  }
  const std::vector<RejectedFor> list = meter.List();
  ASSERT_EQ(list.size(), RejectMeter::kMostReasons + 1);
  EXPECT_EQ(list.back().reason.code(), absl::StatusCode::kUnknown);
  int64_t all = 0;
  for (const RejectedFor& each : list) all += each.rows;
  EXPECT_EQ(all, noted);
}

TEST(RecentPaceTest, IsThatOfTheLastSeconds) {
  RecentPace pace;
  Moment now = absl::Hours(1000);
  pace.Note(now, 0, 0, 0);
  EXPECT_EQ(pace.Get().rows_per_second, 0);
  for (int second = 1; second <= 20; ++second) {
    now += absl::Seconds(1);
    pace.Note(now, 10 * second, second, 100 * second);
  }
  EXPECT_DOUBLE_EQ(pace.Get().rows_per_second, 10);
  EXPECT_DOUBLE_EQ(pace.Get().requests_per_minute, 60);
  EXPECT_DOUBLE_EQ(pace.Get().tokens_per_minute, 6000);
  for (int second = 1; second <= 11; ++second) {
    now += absl::Seconds(1);
    pace.Note(now, 200, 20, 2000);
  }
  EXPECT_EQ(pace.Get().rows_per_second, 0) << "what was before is over";
}

}  // namespace
}  // namespace reembed
