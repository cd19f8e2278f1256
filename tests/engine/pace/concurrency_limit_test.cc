// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/concurrency_limit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <functional>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);

// A server with so many places, a queue before them, and a client that always has as much in the air as it may.
class Simulation {
 public:
  Simulation(int max, int places, std::function<double()> service_seconds, int after_first = 0)
      : limit_({.max = max, .after_first = after_first}),
        places_(places),
        service_seconds_(std::move(service_seconds)) {}

  void set_places(int places) { places_ = places; }
  ConcurrencyLimit& limit() { return limit_; }

  struct Figures {
    double per_second = 0;
    double latency = 0;  // seconds
  };

  Figures Run(absl::Duration time) {
    const Moment end = now_ + time;
    int64_t answers = 0;
    double latencies = 0;
    Send();
    while (!working_.empty() && working_.top().done_at <= end) {
      const Working work = working_.top();
      working_.pop();
      now_ = work.done_at;
      limit_.Answered(work.left_at, 1, in_air() + 1 >= limit_.limit(), now_);
      latencies += absl::ToDoubleSeconds(now_ - work.left_at);
      ++answers;
      Send();
    }
    now_ = end;
    return {.per_second = answers / absl::ToDoubleSeconds(time), .latency = latencies / std::max<int64_t>(1, answers)};
  }

 private:
  struct Working {
    Moment done_at;
    Moment left_at;
    bool operator<(const Working& other) const { return done_at > other.done_at; }
  };

  int in_air() const { return static_cast<int>(waiting_.size() + working_.size()); }

  void Send() {
    while (in_air() < limit_.limit()) waiting_.push_back(now_);
    while (static_cast<int>(working_.size()) < places_ && !waiting_.empty()) {
      working_.push({.done_at = now_ + absl::Seconds(service_seconds_()), .left_at = waiting_.front()});
      waiting_.pop_front();
    }
  }

  ConcurrencyLimit limit_;
  int places_;
  const std::function<double()> service_seconds_;
  Moment now_ = kStart;
  std::deque<Moment> waiting_;
  std::priority_queue<Working> working_;
};

// Whatever the number of places is: nearly the whole throughput, and at most about twice the time of service.
TEST(ConcurrencyLimitTest, FindsTheKneeOfAServer) {
  for (const int after_first : {0, 32}) {
    for (const int places : {1, 2, 3, 4, 7, 8, 16, 24, 40}) {
      SCOPED_TRACE(absl::StrCat(places, " places, ", after_first, " from the first answer on"));
      constexpr double kService = 0.1;
      Simulation simulation(
          128, places, [] { return kService; }, after_first);
      simulation.Run(absl::Seconds(20));
      const Simulation::Figures found = simulation.Run(absl::Minutes(3));
      EXPECT_GE(found.per_second, 0.95 * places / kService);
      EXPECT_LE(found.latency, 2.1 * kService);
    }
  }
}

TEST(ConcurrencyLimitTest, FindsTheKneeWhenServiceTimesDiffer) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u, 5u}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    Simulation simulation(64, 8, [&random] { return std::uniform_real_distribution<double>(0.05, 0.15)(random); });
    simulation.Run(absl::Seconds(20));
    const Simulation::Figures found = simulation.Run(absl::Minutes(5));
    EXPECT_GE(found.per_second, 0.95 * 80);
    EXPECT_LE(found.latency, 2.5 * 0.1);
  }
}

// Nothing is gained by fewer: all that is allowed, soon and for good.
TEST(ConcurrencyLimitTest, GoesToTheFullLimitWhereLatencyDoesNotDependOnIt) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u, 5u}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    Simulation simulation(64, 1000, [&random] { return std::uniform_real_distribution<double>(0.1, 0.3)(random); });
    simulation.Run(absl::Seconds(1.6));
    EXPECT_EQ(simulation.limit().limit(), 64);
    EXPECT_GE(simulation.Run(absl::Minutes(2)).per_second, 0.99 * 64 / 0.2);
  }
}

// The share of what as many threads would do, in a run of 25 s from its first request on: all seeds together, and the
// worst.
struct Shares {
  double mean = 0, worst = 1;
};
Shares SharesOf(const std::function<double(std::mt19937*)>& seconds, int seeds, int after_first = 0) {
  constexpr int kMax = 32;
  Shares shares;
  for (int seed = 1; seed <= seeds; ++seed) {
    std::mt19937 random(seed);
    Simulation simulation(
        kMax, 1000, [&] { return seconds(&random); }, after_first);
    const double share = simulation.Run(absl::Seconds(25)).per_second / (kMax / 0.2);
    shares.mean += share / seeds;
    shares.worst = std::min(shares.worst, share);
  }
  return shares;
}

TEST(ConcurrencyLimitTest, TheRampCostsAShortRunLittle) {
  const Shares even =
      SharesOf([](auto* random) { return std::uniform_real_distribution<double>(0.1, 0.3)(*random); }, 40);
  EXPECT_GE(even.mean, 0.97);
  EXPECT_GE(even.worst, 0.95);
}

// Half of the ramp's cost goes where it begins at a quarter.
TEST(ConcurrencyLimitTest, AfterTheFirstAnswerItMayBeginHigher) {
  const auto even = [](auto* random) { return std::uniform_real_distribution<double>(0.1, 0.3)(*random); };
  const double lost = 1 - SharesOf(even, 40).mean, lost_from_a_quarter = 1 - SharesOf(even, 40, 8).mean;
  EXPECT_LE(lost_from_a_quarter, lost - 0.005);
}

TEST(ConcurrencyLimitTest, BeforeTheFirstAnswerItIsAsLowAsEver) {
  ConcurrencyLimit limit({.max = 32, .initial = 2, .after_first = 8});
  EXPECT_EQ(limit.limit(), 2);
  limit.Answered(kStart, 1, /*full=*/false, kStart + absl::Seconds(0.2));
  EXPECT_EQ(limit.limit(), 8);
  limit.Answered(kStart, 1, /*full=*/false, kStart + absl::Seconds(0.3));
  EXPECT_EQ(limit.limit(), 8);
}

// Of the first answers behind the very first one those of a server with one place come one after another.
TEST(ConcurrencyLimitTest, AnswersThatComeTogetherLeadToFourTimesAsMany) {
  const auto limit_behind = [](std::array<double, 3> seconds, bool full) {
    ConcurrencyLimit limit({.max = 64, .initial = 2, .after_first = 8});
    const Moment left_at = kStart + absl::Seconds(0.1);
    limit.Answered(kStart, 1, /*full=*/false, left_at);
    for (const double latency : seconds) limit.Answered(left_at, 1, full, left_at + absl::Seconds(latency));
    return limit.limit();
  };
  EXPECT_GE(limit_behind({0.2, 0.22, 0.3}, true), 32);
  EXPECT_LE(limit_behind({0.2, 0.4, 0.6}, true), 13);  // one place
  EXPECT_LE(limit_behind({0.2, 0.2, 0.4}, true), 13);  // two
  EXPECT_LE(limit_behind({2, 2.2, 2.4}, true), 13);    // much would wait long if there are only three
  EXPECT_EQ(limit_behind({0.2, 0.22, 0.3}, false), 8);
}

// Of the two that leave before the first answer the second one waits for the only place, so it takes about as long as
// those that leave behind it.
TEST(ConcurrencyLimitTest, WhatLeftBeforeTheFirstAnswerDoesNotCountAsTogether) {
  Simulation simulation(
      64, 1, [] { return 0.1; }, /*after_first=*/8);
  int highest = 0;
  for (int i = 0; i < 200; ++i) {
    simulation.Run(absl::Seconds(0.01));
    highest = std::max(highest, simulation.limit().limit());
  }
  EXPECT_LE(highest, 35);  // one and a half more for each answer, until a dozen show the queue
}

// A server with few places answers what waits for them once, and is not asked for so much again.
TEST(ConcurrencyLimitTest, WhoAnswersTogetherWithFewPlacesIsNotOverrunForLong) {
  for (const int places : {3, 4, 8}) {
    SCOPED_TRACE(absl::StrCat(places, " places"));
    Simulation simulation(
        32, places, [] { return 0.1; }, /*after_first=*/8);
    EXPECT_LE(simulation.Run(absl::Seconds(5)).latency, 0.4);
    EXPECT_LE(simulation.Run(absl::Seconds(20)).latency, 0.21);
  }
}

// The first answers are the quickest of those that left together: beside them the usual latency was taken for a queue,
// and in four of ten runs of 25 s there was a look whether fewer requests do as well.
TEST(ConcurrencyLimitTest, TheQuickestOfTheFirstAnswersAreNoMeasureOfAQueue) {
  int looked_lower = 0;
  for (int seed = 1; seed <= 40; ++seed) {
    std::mt19937 random(seed);
    Simulation simulation(
        32, 1000, [&random] { return std::uniform_real_distribution<double>(0.1, 0.3)(random); }, /*after_first=*/8);
    simulation.Run(absl::Seconds(2));
    bool lower = false;
    for (int i = 0; i < 230; ++i) {
      simulation.Run(absl::Seconds(0.1));
      lower = lower || simulation.limit().limit() < 32;
    }
    looked_lower += lower ? 1 : 0;
  }
  EXPECT_LE(looked_lower, 14);
}

// A few slow answers among the first ones were taken for a queue, and the run stayed at three requests at a time.
TEST(ConcurrencyLimitTest, LatenciesOfALongTailAreNotTakenForAQueue) {
  constexpr double kSigma = 0.8;  // the mean is 0.2 s, one answer of a hundred takes 0.9 s
  const Shares tail = SharesOf(
      [](auto* random) {
        return std::lognormal_distribution<double>(std::log(0.2) - kSigma * kSigma / 2, kSigma)(*random);
      },
      40);
  EXPECT_GE(tail.mean, 0.96);
  EXPECT_GE(tail.worst, 0.85);
}

// What queues before a machine with one place and long answers must not wait into a time-out.
TEST(ConcurrencyLimitTest, ASlowServerWithOnePlaceIsNotOverrun) {
  // Of the last, the first answer is that of a small request.
  for (const auto& [after_first, first] : {std::pair(0, 6.0), {8, 6.0}, {8, 0.3}}) {
    double service = first;
    Simulation simulation(
        32, 1, [&service] { return std::exchange(service, 6.0); }, after_first);
    int highest = 0;
    for (int i = 0; i < 100; ++i) {
      simulation.Run(absl::Seconds(6));
      highest = std::max(highest, simulation.limit().limit());
    }
    EXPECT_LE(highest, 13) << after_first << " from the first answer on, which takes " << first << " s";
  }
}

TEST(ConcurrencyLimitTest, FastAnswersAreNeverTakenForAQueue) {
  Simulation simulation(16, 1, [] { return 0.001; });
  simulation.Run(absl::Seconds(1));
  EXPECT_EQ(simulation.limit().limit(), 16);
  simulation.Run(absl::Seconds(60));
  EXPECT_EQ(simulation.limit().limit(), 16);
}

TEST(ConcurrencyLimitTest, FollowsAServerThatLosesAndRegainsPlaces) {
  Simulation simulation(64, 16, [] { return 0.1; });
  simulation.Run(absl::Seconds(30));
  simulation.set_places(2);
  simulation.Run(absl::Minutes(2));
  EXPECT_LE(simulation.Run(absl::Minutes(1)).latency, 0.25);
  simulation.set_places(16);
  simulation.Run(absl::Seconds(20));
  EXPECT_GE(simulation.Run(absl::Minutes(1)).per_second, 0.95 * 160);
}

TEST(ConcurrencyLimitTest, YieldsToOverloadOnceAndComesBackSlowly) {
  Simulation simulation(32, 1000, [] { return 0.1; });
  simulation.Run(absl::Seconds(5));
  ASSERT_EQ(simulation.limit().limit(), 32);
  const Moment now = kStart + absl::Seconds(5);
  for (int i = 0; i < 10; ++i) simulation.limit().Overloaded(now - absl::Milliseconds(50), now);
  EXPECT_EQ(simulation.limit().limit(), 22);
  simulation.Run(absl::Seconds(0.5));
  EXPECT_LT(simulation.limit().limit(), 28);
  simulation.Run(absl::Seconds(5));
  EXPECT_EQ(simulation.limit().limit(), 32);
}

TEST(ConcurrencyLimitTest, AStrayFailureIsNoOverload) {
  Simulation simulation(32, 1000, [] { return 0.1; });
  for (int i = 1; i <= 100; ++i) {
    simulation.Run(absl::Seconds(1));
    simulation.limit().Overloaded(kStart + absl::Seconds(i), kStart + absl::Seconds(i));
  }
  EXPECT_EQ(simulation.limit().limit(), 32);
}

TEST(ConcurrencyLimitTest, AfterAnOutageRampsToWhereItWas) {
  Simulation simulation(64, 1000, [] { return 0.2; });
  simulation.Run(absl::Seconds(5));
  simulation.limit().OutageEnded(kStart + absl::Seconds(5));
  EXPECT_EQ(simulation.limit().limit(), 8);
  simulation.limit().OutageEnded(kStart + absl::Seconds(5.1));  // it was away once more
  EXPECT_EQ(simulation.limit().limit(), 8);
  simulation.Run(absl::Seconds(1.2));
  EXPECT_EQ(simulation.limit().limit(), 64);
}

}  // namespace
}  // namespace reembed
