// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/waits.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

RunSnapshot Snapshot() {
  return {.rows_expected = 1'234'500,
          .rows_before = 67,
          .rows_done = 12'266,
          .rows_rejected = 12,
          .rows_per_second = 832,
          .left = absl::Minutes(24),
          .client = {.requests_retried = 3, .tokens = 9'876'543}};
}

TEST(ProgressLineTest, SaysAllWhereThereIsRoom) {
  EXPECT_EQ(ProgressLine(Snapshot(), 200),
            "12,345 of 1,234,567 rows, 1.0 %, 832 rows/s, 24:00 left, 9,876,543 tokens, 3 retries, 12 rejected");
}

TEST(ProgressLineTest, LeavesOutWhatDoesNotFit) {
  EXPECT_EQ(ProgressLine(Snapshot(), 79),
            "12,345 of 1,234,567 rows, 1.0 %, 832 rows/s, 24:00 left, 3 retries, 12 rejected");
  EXPECT_EQ(ProgressLine(Snapshot(), 50), "12,345 of 1,234,567 rows, 1.0 %, 24:00 left");
  EXPECT_EQ(ProgressLine(Snapshot(), 24), "12,345 of 1,234,567 rows");
}

TEST(ProgressLineTest, IsNeverLongerThanTheWindow) {
  RunSnapshot run = Snapshot();
  run.client.quota_wait = absl::Seconds(40);
  for (size_t columns = 0; columns < 150; ++columns) EXPECT_LE(ProgressLine(run, columns).size(), columns);
}

TEST(ProgressLineTest, SaysThatItWaitsForQuota) {
  RunSnapshot run = Snapshot();
  run.client.quota_wait = absl::Seconds(42);
  EXPECT_THAT(ProgressLine(run, 79), HasSubstr("waiting for quota, 42 s"));
  run.client.quota_wait = absl::Milliseconds(300);  // how a quota is kept all the time
  EXPECT_THAT(ProgressLine(run, 79), Not(HasSubstr("waiting")));
}

TEST(ProgressLineTest, SaysWhatHoldsItUp) {
  RunSnapshot run = Snapshot();
  run.recent_waits = {{.what = {WaitPart::kDisk, ""}, .looks = 93, .of = 100, .share = 0.93},
                      {.what = {WaitPart::kApi, ""}, .looks = 7, .of = 100, .share = 0.07}};
  EXPECT_THAT(ProgressLine(run, 200), HasSubstr("left, held up by the disk of the job 93 %, "));
  run.recent_waits[0].what = {WaitPart::kTarget, "sqlite:/home/me/notes.db?table=notes&key=id&vector=v"};
  EXPECT_THAT(ProgressLine(run, 200), HasSubstr("held up by target /home/me/notes.db 93 %"));
  run.recent_waits[0].what = {WaitPart::kApi, ""};  // that is what a run is for
  EXPECT_THAT(ProgressLine(run, 200), Not(HasSubstr("held up")));
  run.recent_waits[0] = {.what = {WaitPart::kDisk, ""}, .looks = 45, .of = 100, .share = 0.45};
  EXPECT_THAT(ProgressLine(run, 200), Not(HasSubstr("held up")));
  run.recent_waits[0] = {.what = {WaitPart::kDisk, ""}, .looks = 30, .of = 30, .share = 1};  // too few to say so
  EXPECT_THAT(ProgressLine(run, 200), Not(HasSubstr("held up")));
}

TEST(WaitLineTest, NamesWhatTookTime) {
  const std::vector<WaitShare> waits = {{.what = {WaitPart::kQuota, ""}, .looks = 80, .of = 100, .share = 0.8},
                                        {.what = {WaitPart::kSource, ""}, .looks = 16, .of = 100, .share = 0.16},
                                        {.what = {WaitPart::kDisk, ""}, .looks = 4, .of = 100, .share = 0.04}};
  EXPECT_EQ(WaitLine(waits), "waited for the quota 80 %, the source 16 % of the time");
  EXPECT_EQ(WaitLine({}), "");
  EXPECT_EQ(WaitJson(waits),
            R"([{"part":"quota","share":0.8000},{"part":"source","share":0.1600},{"part":"disk","share":0.0400}])");
  EXPECT_EQ(WaitJson({{.what = {WaitPart::kTarget, "fbin:x\""}, .looks = 1, .of = 1, .share = 1}}),
            R"([{"part":"target","target":"fbin:x\"","share":1.0000}])");
}

TEST(ProgressLineTest, DoesWithoutAnExpectedNumberOfRows) {
  EXPECT_EQ(ProgressLine({.rows_done = 5, .rows_per_second = 2.5}, 79), "5 rows, 2 rows/s");
}

}  // namespace
}  // namespace reembed
