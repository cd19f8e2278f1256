// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/waits.h"

namespace reembed {
namespace {

using ::testing::AllOf;
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

// A terminal as far as drawing needs it: what its rows hold in the end.
std::vector<std::string> Drawn(const std::string& bytes) {
  std::vector<std::string> rows(1);
  size_t row = 0, column = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\r') {
      column = 0;
    } else if (bytes[i] == '\n') {
      column = 0;  // the terminal's driver makes it a return, too
      if (++row == rows.size()) rows.emplace_back();
    } else if (bytes[i] == '\033') {
      size_t number = 0;
      for (i += 2; std::isdigit(static_cast<unsigned char>(bytes[i])) != 0; ++i)
        number = 10 * number + (bytes[i] - '0');
      if (bytes[i] == 'K' || bytes[i] == 'J') rows[row].resize(std::min(rows[row].size(), column));
      if (bytes[i] == 'J') rows.resize(row + 1);
      if (bytes[i] == 'A') row -= number;
      if (bytes[i] == 'C') column += number;
    } else {
      rows[row].resize(std::max(rows[row].size(), column + 1), ' ');
      rows[row][column++] = bytes[i];
    }
  }
  return rows;
}

TEST(ProgressPanelTest, IsDrawnOverItselfAndLeavesWhatOthersSay) {
  EXPECT_EQ(Drawn(DrawnOver("one", {"two", "three"})), (std::vector<std::string>{"one", "two", "three"}));
  EXPECT_EQ(Drawn(DrawnOver("a longer one", {"two", "three"}) + DrawnOver("one", {"2"})),
            (std::vector<std::string>{"one", "2"}));
  EXPECT_EQ(Drawn(DrawnOver("one", {"two", "three"}) + "\nnote: said\n" + DrawnOver("one", {"two"})),
            (std::vector<std::string>{"one", "note: said", "one", "two"}));
  EXPECT_EQ(Drawn(DrawnOver("one", {"two", "three"}) + DrawnOver("", {})), (std::vector<std::string>{""}));
}

TEST(ProgressPanelTest, SaysMoreThanALineAndFitsItsWindow) {
  RunSnapshot run = Snapshot();
  run.recent = {.rows_per_second = 812, .requests_per_minute = 590, .tokens_per_minute = 98'000};
  run.left_least = absl::Minutes(20);
  run.left_most = absl::Minutes(30);
  run.client.requests_per_minute = 600;
  run.client.in_the_air = 3;
  run.client.concurrency = 9;
  run.client.latency = absl::Milliseconds(122);
  run.cost_usd = 0.5;
  run.projected_usd = 2;
  run.max_spend_usd = 5;
  run.sinks = {{.name = "sqlite:/home/me/notes.db?table=notes&key=id&vector=v", .position = 12'000}};
  run.rejects = {{.reason = absl::DataLossError("its vector is zero\033[31m"), .rows = 12}};
  const std::vector<std::string> lines = PanelLines(run, 200);
  EXPECT_THAT(lines, testing::ElementsAre(
                         "[..............................] 812 rows/s now, between 20:00 and 30:00 left",
                         "requests  590 a minute of 600, 3 of 9 in the air, 122 ms", "tokens    98,000 a minute",
                         HasSubstr("at the end, cap $5.00"), "target    12,000 rows in /home/me/notes.db",
                         "rejected  12: its vector is zero\\u001b[31m"));
  for (const size_t columns : {20, 79}) {
    for (const std::string& line : PanelLines(run, columns)) EXPECT_LE(line.size(), columns) << line;
  }
  run.rejects.resize(9, run.rejects[0]);
  run.sinks.resize(9, run.sinks[0]);
  run.endpoints.resize(9);
  EXPECT_LE(PanelLines(run, 79).size(), kMostPanelLines);
  run.paused = true;
  EXPECT_THAT(ProgressLine(run, 200), AllOf(HasSubstr("paused"), Not(HasSubstr("left"))));
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
