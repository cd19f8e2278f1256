// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/endpoint_chooser.h"

#include <queue>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace reembed {
namespace {

Moment At(double seconds) { return absl::Seconds(1000) + absl::Seconds(seconds); }

EndpointChooser Working(std::vector<EndpointTraits> traits, const ChooserOptions& options = {}) {
  EndpointChooser chooser(std::move(traits), options);
  for (int e = 0; e < chooser.size(); ++e) chooser.Passed(e);
  return chooser;
}

// Servers with slots and a latency of their own, in time that only this loop moves. What does not find a slot waits at
// the server it was sent to.
struct FakeServer {
  int slots = 1;
  double latency = 1;  // of a request
};

// Work of equal size is handed out as long as fewer than `in_flight` are under way; returns how many each server did.
std::vector<int> Share(EndpointChooser* chooser, const std::vector<FakeServer>& servers, int in_flight,
                       double seconds) {
  constexpr int64_t kTokens = 1000;
  struct Event {
    double at;
    int server;
    bool operator>(const Event& other) const { return at > other.at; }
  };
  std::priority_queue<Event, std::vector<Event>, std::greater<>> ends;
  std::vector<int> busy(servers.size()), waiting(servers.size()), done(servers.size());
  int out = 0;
  double now = 0;
  while (now < seconds || out > 0) {
    for (; out < in_flight && now < seconds; ++out) {
      const int e = chooser->Choose(kTokens, {}, At(now));
      chooser->Started(e, kTokens, At(now));
      if (busy[e] < servers[e].slots) {
        ++busy[e];
        ends.push({now + servers[e].latency, e});
      } else {
        ++waiting[e];
      }
    }
    const Event end = ends.top();
    ends.pop();
    now = end.at;
    chooser->Ended(end.server, kTokens, true, At(now));
    if (now < seconds) ++done[end.server];
    --out;
    if (waiting[end.server] > 0) {
      --waiting[end.server];
      ends.push({now + servers[end.server].latency, end.server});
    } else {
      --busy[end.server];
    }
  }
  return done;
}

TEST(EndpointChooserTest, WeightsDecideUntilSpeedsAreMeasured) {
  EndpointChooser chooser = Working({{.concurrency = 4, .weight = 1}, {.concurrency = 4, .weight = 3}});
  std::vector<int> given(2);
  for (int i = 0; i < 40; ++i) {
    const int e = chooser.Choose(100, {}, At(0));
    chooser.Started(e, 100, At(0));
    ++given[e];
  }
  EXPECT_NEAR(given[0], 10, 1);
  EXPECT_NEAR(given[1], 30, 1);
}

// The share of each is its speed, although the weights said otherwise.
TEST(EndpointChooserTest, ShareFollowsMeasuredSpeed) {
  EndpointChooser chooser = Working({{.concurrency = 4}, {.concurrency = 4}});
  const std::vector<int> done = Share(&chooser, {{4, 0.8}, {4, 0.2}}, 12, 60);
  EXPECT_NEAR(static_cast<double>(done[1]) / done[0], 4, 0.2) << done[0] << " and " << done[1];
  EXPECT_GE(done[0] + done[1], 0.97 * 60 * (4 / 0.8 + 4 / 0.2));
  EXPECT_NEAR(chooser.TokensPerSecond(0, At(60)), 1000 * 4 / 0.8, 500);
  EXPECT_NEAR(chooser.TokensPerSecond(1, At(60)), 1000 * 4 / 0.2, 2000);
}

// The server has fewer slots than we were told: what waits at it counts as busy.
TEST(EndpointChooserTest, SeesAServerWithFewerSlotsThanItsConcurrency) {
  EndpointChooser chooser = Working({{.concurrency = 8}, {.concurrency = 8}});
  const std::vector<int> done = Share(&chooser, {{2, 0.2}, {8, 0.2}}, 24, 60);
  EXPECT_NEAR(static_cast<double>(done[1]) / done[0], 4, 0.4) << done[0] << " and " << done[1];
  EXPECT_GE(done[0] + done[1], 0.95 * 60 * (2 / 0.2 + 8 / 0.2));
}

TEST(EndpointChooserTest, AnIdleEndpointKeepsItsSpeed) {
  EndpointChooser chooser = Working({{.concurrency = 8}, {.concurrency = 8}});
  Share(&chooser, {{8, 0.4}, {8, 0.1}}, 16, 20);
  EXPECT_EQ(chooser.Choose(1000, {}, At(30)), 1);
  EXPECT_NEAR(chooser.TokensPerSecond(0, At(300)), 1000 * 8 / 0.4, 4000);
}

TEST(EndpointChooserTest, AnEndpointThatStopsAnsweringGetsLessAndLess) {
  EndpointChooser chooser = Working({{.concurrency = 2}, {.concurrency = 2}});
  Share(&chooser, {{2, 0.1}, {2, 0.1}}, 4, 5);
  const double before = chooser.TokensPerSecond(0, At(6));
  chooser.Started(0, 1000, At(6));
  EXPECT_LT(chooser.TokensPerSecond(0, At(36)), before / 3);
  // It gets its slots full, and nothing more until the other has a long queue.
  for (const int expected : {1, 1, 0, 1, 1, 1, 1, 1, 1}) {
    EXPECT_EQ(chooser.Choose(1000, {}, At(36)), expected);
    chooser.Started(expected, 1000, At(36));
  }
}

TEST(EndpointChooserTest, FailedWorkGoesElsewhereAndRestEndsWithAProbe) {
  EndpointChooser chooser = Working({{}, {}}, {.first_rest = absl::Seconds(2), .longest_rest = absl::Seconds(5)});
  EXPECT_TRUE(chooser.Failed(0, At(0), At(1)));
  EXPECT_EQ(chooser.state(0), EndpointState::kResting);
  const std::vector<int> tries = {1, 0};
  EXPECT_EQ(chooser.Choose(10, tries, At(1)), 1);
  EXPECT_EQ(chooser.Choose(10, {}, At(1)), 1);
  EXPECT_FALSE(chooser.Failed(0, At(0.5), At(1.5))) << "left before the rest began: nothing new";
  EXPECT_EQ(chooser.TakeDueProbe(At(2.9)), -1);
  EXPECT_EQ(chooser.TakeDueProbe(At(3)), 0);
  EXPECT_EQ(chooser.TakeDueProbe(At(3)), -1) << "one probe at a time";
  EXPECT_FALSE(chooser.Failed(0, At(3), At(3.5)));
  EXPECT_EQ(chooser.TakeDueProbe(At(7.4)), -1) << "the second rest is twice as long";
  EXPECT_EQ(chooser.TakeDueProbe(At(7.5)), 0);
  chooser.Failed(0, At(7.5), At(8));
  EXPECT_EQ(chooser.TakeDueProbe(At(12.9)), -1);
  EXPECT_EQ(chooser.TakeDueProbe(At(13)), 0) << "no rest is longer than the longest";
  chooser.Passed(0);
  EXPECT_EQ(chooser.state(0), EndpointState::kWorking);
  EXPECT_EQ(chooser.Choose(10, {}, At(13)), 0);
  EXPECT_TRUE(chooser.Failed(0, At(14), At(14)));
  EXPECT_EQ(chooser.TakeDueProbe(At(16)), 0) << "the next rest is short again";
}

TEST(EndpointChooserTest, AllResting_TheOneThatRestsTheShortestIsTriedUntilTriesAreUsedUp) {
  EndpointChooser chooser = Working({{}, {}}, {.max_tries = 2});
  chooser.Failed(1, At(0), At(0));
  chooser.Failed(0, At(1), At(1));
  std::vector<int> tries = {1, 1};
  EXPECT_EQ(chooser.Choose(10, tries, At(1)), 1);
  tries[1] = 2;
  EXPECT_EQ(chooser.Choose(10, tries, At(1)), 0);
  tries[0] = 2;
  EXPECT_EQ(chooser.Choose(10, tries, At(1)), -1);
}

TEST(EndpointChooserTest, OneEndpointAloneIsTriedOnce) {
  EndpointChooser chooser = Working({{}});
  chooser.Failed(0, At(0), At(0));
  EXPECT_EQ(chooser.Choose(10, {}, At(0)), 0);
  const std::vector<int> tries = {1};
  EXPECT_EQ(chooser.Choose(10, tries, At(0)), -1);
}

TEST(EndpointChooserTest, RemovedAndUncheckedGetNothing) {
  EndpointChooser chooser({{}, {}, {}}, {});
  EXPECT_EQ(chooser.Choose(10, {}, At(0)), -1);
  chooser.Passed(2);
  EXPECT_EQ(chooser.Choose(10, {}, At(0)), 2);
  EXPECT_TRUE(chooser.Failed(1, At(0), At(0)));
  EXPECT_TRUE(chooser.Remove(2));
  EXPECT_FALSE(chooser.Remove(2));
  EXPECT_EQ(chooser.Choose(10, {}, At(0)), -1) << "one that has never answered is no way out";
  EXPECT_EQ(chooser.TakeDueProbe(At(100)), 1) << "but it is probed";
  chooser.Passed(2);
  EXPECT_EQ(chooser.state(2), EndpointState::kRemoved);
  EXPECT_FALSE(chooser.AllRemoved());
  chooser.Remove(0);
  chooser.Remove(1);
  EXPECT_TRUE(chooser.AllRemoved());
}

}  // namespace
}  // namespace reembed
