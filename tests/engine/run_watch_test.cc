// SPDX-License-Identifier: Apache-2.0
#include "engine/run_watch.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;

// A client that only counts.
class CountingClient final : public EmbeddingClient {
 public:
  const Model& model() const override { return model_; }
  void Send(Batch*, Done) override {}
  absl::Status Decode(Batch*) const override { return absl::OkStatus(); }
  void Stop(InTheAir, const absl::Status&) override {}
  ClientStats stats() const override { return now; }

  ClientStats now;

 private:
  const Model model_{.name = "m", .dim = 2};
};

class RunWatchTest : public ::testing::Test {
 protected:
  RunWatch::Parts Parts() {
    RunWatch::Parts parts{.counters = &counters_, .client = &client_, .usd_per_token = 0.5};
    parts.scope = {.rows = 100, .rows_before = 30, .rows_bought = 0, .texts_per_request = 10};
    parts.begun.before = {.rows = 40, .rows_done = 30, .rows_rejected = 4, .rows_gone = 1, .rows_pending = 5};
    parts.begun.client = {.requests = 1, .tokens = 2};
    parts.begun.rows_changed = 3;
    return parts;
  }
  std::function<Moment()> Clock() {
    return [this] { return now_; };
  }

  RunCounters counters_;
  CountingClient client_;
  Moment now_ = absl::Hours(1000);
};

TEST_F(RunWatchTest, SaysAllThatIsKnown) {
  RunWatch::Parts parts = Parts();
  parts.endpoints = [] {
    return std::vector<EndpointReport>{{.name = "a", .stats = {.requests = 6}},
                                       {.name = "b", .stats = {.requests = 3}}};
  };
  RunWatch watch(std::move(parts), Clock());
  EXPECT_EQ(watch.Take().rows_per_second, 0);
  now_ += absl::Seconds(4);
  counters_.rows_done = 12;
  counters_.rows_embedded = 9;
  counters_.rows_replayed = 3;
  counters_.rows_rejected = 2;
  counters_.texts_embedded = 8;
  counters_.sinks.Wrote("one", 12, 1);
  counters_.sinks.Reached("one", 13);
  client_.now = {.requests = 9, .requests_retried = 1, .http_429 = 2, .tokens = 10, .quota_wait = absl::Seconds(3)};
  watch.NoteChanged(2);
  watch.NotePass();
  const RunSnapshot run = watch.Take();
  EXPECT_EQ(run.elapsed, absl::Seconds(4));
  EXPECT_EQ(run.rows_through(), 30 + 12 + 2);
  EXPECT_EQ(run.rows_done, run.rows_embedded + run.rows_replayed);
  EXPECT_EQ(run.rows_per_second, 14 / 4.0);
  EXPECT_EQ(run.rows_new(), 9);
  EXPECT_EQ(run.now.rows_rejected, 4 + 2);
  EXPECT_EQ(run.now.rows, run.now.rows_done + run.now.rows_rejected + run.now.rows_gone + run.now.rows_pending)
      << "each row of the job is one of these";
  EXPECT_EQ(run.rows_changed, 5);
  EXPECT_EQ(run.passes, 2);
  EXPECT_EQ(run.client.requests, 10) << "with the probe";
  EXPECT_EQ(run.client.tokens, 12);
  EXPECT_EQ(run.client.quota_wait, absl::Seconds(3));
  EXPECT_EQ(run.cost_usd, 6);
  EXPECT_EQ(run.endpoints[0].stats.requests + run.endpoints[1].stats.requests, client_.now.requests);
  ASSERT_EQ(run.sinks.size(), 1u);
  EXPECT_EQ(run.sinks[0].rows_written, 12);
  EXPECT_EQ(run.sinks[0].rows_refused, 1);
  EXPECT_EQ(run.sinks[0].position, 13);
}

TEST_F(RunWatchTest, KnowsHowLongItStillTakes) {
  RunWatch watch(Parts(), Clock());
  EXPECT_FALSE(watch.Take().left.has_value()) << "nothing has been asked for";
  client_.now.requests = 1;
  for (int second = 0; second <= 50; ++second) {
    counters_.rows_done = counters_.rows_embedded = second;
    watch.Take();
    now_ += absl::Seconds(1);
  }
  const RunSnapshot run = watch.Take();
  ASSERT_TRUE(run.left.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*run.left), 50, 3);
}

TEST_F(RunWatchTest, StreamsAreAddedUp) {
  RunSnapshot total;
  const RunSnapshot one = {.elapsed = absl::Seconds(2),
                           .before = {.rows = 10, .rows_done = 4, .rows_pending = 6},
                           .now = {.rows = 10, .rows_done = 10},
                           .rows_expected = 6,
                           .rows_done = 6,
                           .rows_embedded = 6,
                           .client = {.requests = 3, .tokens = 30},
                           .endpoints = {{.name = "a", .stats = {.requests = 3}, .texts = 6}},
                           .cost_usd = 0.5,
                           .spent_usd = 0.5,
                           .sinks = {{.name = "t", .position = 10, .rows_written = 6}}};
  RunSnapshot other = one;
  other.elapsed = absl::Seconds(6);
  other.passes = 3;
  other.spent_usd = 1;
  other.sinks[0].name = "u";
  Add(one, &total);
  EXPECT_EQ(total.rows_expected, 6);
  EXPECT_EQ(total.rows_per_second, 3);
  Add(other, &total);
  EXPECT_EQ(total.elapsed, absl::Seconds(8));
  EXPECT_EQ(total.rows_new(), 12);
  EXPECT_EQ(total.rows_per_second, 1.5);
  EXPECT_EQ(total.rows_expected, 12);
  EXPECT_EQ(total.passes, 3);
  EXPECT_EQ(total.client.requests, 6);
  ASSERT_EQ(total.endpoints.size(), 1u) << "they are the same in all streams";
  EXPECT_EQ(total.endpoints[0].stats.requests, 6);
  EXPECT_EQ(total.endpoints[0].texts, 12);
  EXPECT_EQ(total.cost_usd, 1);
  EXPECT_EQ(total.spent_usd, 1) << "that of all streams";
  EXPECT_THAT(total.sinks, ElementsAre(Field(&SinkProgress::name, "t"), Field(&SinkProgress::name, "u")));
  other.rows_expected = -1;
  Add(other, &total);
  EXPECT_EQ(total.rows_expected, -1) << "of one of them nobody knows";
}

// A page, a line and a summary may ask at once.
TEST_F(RunWatchTest, AnyThreadMayAsk) {
  RunWatch watch(Parts(), MonotonicNow);
  std::atomic<int> wrong{0};
  std::vector<std::thread> askers;
  for (int i = 0; i < 4; ++i) {
    askers.emplace_back([&] {
      for (int look = 0; look < 200; ++look) {
        const RunSnapshot run = watch.Take();
        if (run.rows_done < run.rows_embedded + run.rows_replayed) ++wrong;
        if (!run.sinks.empty() && run.sinks[0].rows_written > 2000) ++wrong;
      }
    });
  }
  for (int row = 0; row < 2000; ++row) {
    ++counters_.rows_done;
    ++counters_.rows_embedded;
    counters_.sinks.Wrote("one", 1, 0);
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(watch.Take().sinks[0].rows_written, 2000);
}

TEST_F(RunWatchTest, SaysWhatAPageShowsBesides) {
  RunControl control(8);
  RunWatch::Parts parts = Parts();
  parts.control = &control;
  parts.scope.rows_bought = 20;
  RunWatch watch(std::move(parts), Clock());
  EXPECT_FALSE(watch.Take().paused);
  EXPECT_FALSE(watch.Take().projected_usd.has_value()) << "nothing is bought yet";
  counters_.rows_done = 30;
  counters_.rows_replayed = 20;
  counters_.rows_embedded = 10;
  counters_.rejects.Note(int64_t{5}, absl::DataLossError("its vector is zero"));
  client_.now = {.requests = 4, .tokens = 40};
  control.Pause();
  now_ += absl::Seconds(10);
  const RunSnapshot run = watch.Take();
  EXPECT_TRUE(run.paused);
  // Of 80 rows to buy 10 are bought for 40 tokens; the probe had cost 2.
  EXPECT_DOUBLE_EQ(run.projected_usd.value_or(-1), 0.5 * (2 + 40 * 8));
  ASSERT_EQ(run.rejects.size(), 1u);
  EXPECT_EQ(run.rejects[0].rows, 1);
  EXPECT_DOUBLE_EQ(run.recent.rows_per_second, 3);
  EXPECT_DOUBLE_EQ(run.recent.requests_per_minute, 24);
  EXPECT_DOUBLE_EQ(run.recent.tokens_per_minute, 240);
  if (run.left.has_value()) {
    EXPECT_LE(run.left_least, run.left);
    EXPECT_GE(run.left_most, run.left);
  }
}

TEST(RowsPerSecondOfQuotaTest, IsTheNarrowerOfWhatIsKnown) {
  EXPECT_EQ(RowsPerSecondOfQuota({}, 0, 100), 0);
  EXPECT_EQ(RowsPerSecondOfQuota({.requests_per_minute = 60}, 0, 100), 100);
  // The first ask for the model, not for rows; then what requests really bring.
  EXPECT_EQ(RowsPerSecondOfQuota({.requests = 12, .in_the_air = 2, .requests_per_minute = 60}, 100, 100), 100);
  EXPECT_EQ(RowsPerSecondOfQuota({.requests = 102, .in_the_air = 2, .requests_per_minute = 60}, 5000, 100), 50);
  // Of tokens nothing is known before the first reply.
  EXPECT_EQ(RowsPerSecondOfQuota({.tokens_per_minute = 6000}, 0, 100), 0);
  const ClientStats both = {.requests = 100, .tokens = 5000, .requests_per_minute = 60, .tokens_per_minute = 6000};
  EXPECT_EQ(RowsPerSecondOfQuota(both, 500, 100), 5);
}

}  // namespace
}  // namespace reembed
