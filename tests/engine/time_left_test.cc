// SPDX-License-Identifier: Apache-2.0
#include "engine/time_left.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);  // the clock's zero means nothing

double SecondsLeft(const TimeLeft& left, double at, int64_t total, const TimeLeft::Limits& limits = {}) {
  const auto estimate = left.Estimate(kStart + absl::Seconds(at), total, limits);
  return estimate.has_value() ? absl::ToDoubleSeconds(*estimate) : -1;
}

TEST(TimeLeftTest, SaysNothingBeforeTheFirstRowsUnlessALimitIsKnown) {
  const TimeLeft left(kStart);
  EXPECT_EQ(SecondsLeft(left, 1, 100), -1);
  EXPECT_NEAR(SecondsLeft(left, 1, 100, {.rows_per_second = 5}), 20, 1e-6);
  EXPECT_NEAR(SecondsLeft(left, 1, 100, {.rows_per_second = 5, .pause = absl::Seconds(7)}), 27, 1e-6);
}

TEST(TimeLeftTest, RowsThatAreThereAtTheFirstLookHaveNoPace) {
  TimeLeft left(kStart);
  left.Note(kStart, 16);
  EXPECT_EQ(SecondsLeft(left, 1, 1000), -1) << "and not 0";
  left.Note(kStart + absl::Seconds(2), 116);
  EXPECT_NEAR(SecondsLeft(left, 2, 1116), 1000.0 / 58, 2.8);
}

TEST(TimeLeftTest, CountsDownBetweenLumps) {
  TimeLeft left(kStart);
  left.Note(kStart + absl::Seconds(10), 100);
  EXPECT_NEAR(SecondsLeft(left, 10, 1000), 90, 1e-6);
  EXPECT_NEAR(SecondsLeft(left, 19, 1000), 81, 1e-6);
  // The second lump is late; nobody knows by how much.
  EXPECT_NEAR(SecondsLeft(left, 25, 1000), 80, 1e-6);
  left.Note(kStart + absl::Seconds(30), 200);
  EXPECT_NEAR(SecondsLeft(left, 30, 1000), 160, 1e-6);
}

TEST(TimeLeftTest, IsNothingWhenAllIsDone) {
  TimeLeft left(kStart);
  left.Note(kStart + absl::Seconds(1), 10);
  EXPECT_EQ(SecondsLeft(left, 2, 10), 0);
  EXPECT_EQ(SecondsLeft(left, 2, 5), 0);
}

TEST(TimeLeftTest, ABurstAtTheBeginningDoesNotHideTheLimit) {
  TimeLeft left(kStart);
  left.Note(kStart + absl::Seconds(1), 50);  // the quota had been saved up
  EXPECT_NEAR(SecondsLeft(left, 1, 10'000, {.rows_per_second = 10}), 995, 0.5);
}

TEST(TimeLeftTest, FromATenthOnALimitThatDoesNotBindIsForgotten) {
  TimeLeft left(kStart);
  left.Note(kStart + absl::Seconds(10), 100);
  EXPECT_NEAR(SecondsLeft(left, 10, 1000, {.rows_per_second = 1e6}), 90, 1e-6);
}

TEST(TimeLeftTest, APauseCountsAsFarAsItIsLongerThanUsual) {
  TimeLeft left(kStart);
  for (int i = 1; i <= 10; ++i) left.Note(kStart + absl::Seconds(i), 10 * i);
  EXPECT_NEAR(SecondsLeft(left, 10.5, 200, {.pause = absl::Seconds(60)}), 9.5 + 59.5, 1e-6);
  EXPECT_NEAR(SecondsLeft(left, 10.5, 200, {.pause = absl::Milliseconds(400)}), 9.5, 1e-6);
}

TEST(TimeLeftTest, ALongRunIsThinnedOutWithoutHarm) {
  TimeLeft left(kStart);
  for (int i = 1; i <= 100'000; ++i) left.Note(kStart + absl::Milliseconds(200 * i), i);
  EXPECT_NEAR(SecondsLeft(left, 20'000, 200'000), 20'000, 200);
}

// Requests with latencies of their own leave as long as fewer than allowed are in the air; the number allowed doubles
// with each round trip up to the most; and a quota may hold them back.
struct SimulatedRun {
  std::vector<std::pair<double, int64_t>> done;  // when how many rows were
  double rows_per_second = 0;                    // of the quota
};

SimulatedRun Simulate(std::mt19937* random) {
  const auto pick = [random](auto... choices) {
    const std::vector<double> all = {static_cast<double>(choices)...};
    return all[std::uniform_int_distribution<size_t>(0, all.size() - 1)(*random)];
  };
  const auto rows = static_cast<int64_t>(pick(16, 32, 64, 128));
  const int requests = std::uniform_int_distribution<int>(100, 2000)(*random);
  const double most = pick(4, 8, 16, 32), latency = pick(0.1, 0.2, 0.5, 1, 2), spread = pick(0.05, 0.3, 0.6);
  const double quota = pick(0, 0, 0.5, 0.25) * most / latency;  // requests a second; 0: none
  std::uniform_real_distribution<double> around(1 - spread, 1 + spread);
  SimulatedRun run{.rows_per_second = quota * static_cast<double>(rows)};
  std::priority_queue<double, std::vector<double>, std::greater<>> in_the_air;
  double now = 0, next = 0, allowed = pick(2, most);
  for (int sent = 0, answered = 0; answered < requests;) {
    while (sent < requests && static_cast<double>(in_the_air.size()) < allowed) {
      const double leaves = std::max(now, next);
      if (quota > 0) next = leaves + 1 / quota;
      in_the_air.push(leaves + latency * around(*random));
      ++sent;
    }
    now = in_the_air.top();
    in_the_air.pop();
    run.done.emplace_back(now, rows * ++answered);
    allowed = std::min(most, allowed + 1);
  }
  return run;
}

// From a tenth on, until little is left, every line that is drawn is within a fifth of what it takes.
bool IsTrue(const SimulatedRun& run) {
  const double end = run.done.back().first;
  const int64_t total = run.done.back().second;
  TimeLeft left(kStart);
  auto next = run.done.begin();
  int64_t done = 0;
  for (double now = 0; now < 0.9 * end; now += 0.2) {
    for (; next != run.done.end() && next->first <= now; ++next) done = next->second;
    left.Note(kStart + absl::Seconds(now), done);
    if (10 * done < total) continue;
    const double estimate = SecondsLeft(left, now, total, {.rows_per_second = run.rows_per_second});
    if (std::abs(estimate - (end - now)) > 0.2 * (end - now) + 0.5) return false;
  }
  return true;
}

TEST(TimeLeftTest, IsWithinAFifthFromATenthOnInNineRunsOfTen) {
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  constexpr int kRuns = 1000;
  int good = 0;
  for (int i = 0; i < kRuns; ++i) good += IsTrue(Simulate(&random)) ? 1 : 0;
  EXPECT_GE(good, kRuns * 9 / 10) << "seed " << seed;
}

TEST(TimeLeftTest, ABandIsNarrowWhereThePaceIsEvenAndWideWhereItIsNot) {
  TimeLeft even(kStart), uneven(kStart), young(kStart);
  double at = 0;
  for (int lump = 1; lump <= 200; ++lump) {
    even.Note(kStart + absl::Seconds(lump), 10 * lump);
    at += lump / 20 % 2 == 0 ? 0.5 : 1.5;
    uneven.Note(kStart + absl::Seconds(at), 10 * lump);
  }
  const absl::Duration estimate = absl::Seconds(100);
  const TimeLeft::Band narrow = even.BandOf(estimate), wide = uneven.BandOf(estimate);
  EXPECT_NEAR(absl::ToDoubleSeconds(narrow.least), 100, 1);
  EXPECT_NEAR(absl::ToDoubleSeconds(narrow.most), 100, 1);
  EXPECT_LT(wide.least, absl::Seconds(85));
  EXPECT_GT(wide.most, absl::Seconds(115));
  EXPECT_LE(wide.most, absl::Seconds(200));
  young.Note(kStart + absl::Seconds(1), 10);
  EXPECT_EQ(young.BandOf(estimate).least, absl::Seconds(50)) << "of little nothing is known";
  EXPECT_EQ(young.BandOf(estimate).most, absl::Seconds(200));
}

}  // namespace
}  // namespace reembed
