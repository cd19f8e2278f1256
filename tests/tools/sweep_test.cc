// SPDX-License-Identifier: Apache-2.0
#include "tools/sweep.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <semaphore>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/api_client.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kDim = 8;

TEST(SweepTest, PercentilesAreNearestRank) {
  std::vector<absl::Duration> values;
  EXPECT_EQ(Percentile(values, 0.5), absl::ZeroDuration());
  for (int i = 1; i <= 100; ++i) values.push_back(absl::Milliseconds(i));
  EXPECT_EQ(Percentile(values, 0.50), absl::Milliseconds(50));
  EXPECT_EQ(Percentile(values, 0.95), absl::Milliseconds(95));
  EXPECT_EQ(Percentile(values, 0.99), absl::Milliseconds(99));
  EXPECT_EQ(Percentile(values, 1), absl::Milliseconds(100));
  EXPECT_EQ(Percentile(values, 0), absl::Milliseconds(1));
  EXPECT_EQ(Percentile(absl::MakeConstSpan(values).subspan(0, 1), 0.99), absl::Milliseconds(1));
  EXPECT_EQ(Percentile(absl::MakeConstSpan(values).subspan(0, 3), 0.5), absl::Milliseconds(2));
}

SweepCell Cell(int concurrency, int batch_size, int64_t texts_per_second, int64_t errors = 0) {
  return {.concurrency = concurrency,
          .batch_size = batch_size,
          .requests = 1,
          .texts = texts_per_second,
          .errors = errors,
          .elapsed = absl::Seconds(1)};
}

TEST(SweepTest, TheKneeIsTheSmallestConcurrencyWithinFivePercentOfTheBest) {
  EXPECT_EQ(FindKnee({}), nullptr);
  const std::vector<SweepCell> cells = {Cell(1, 8, 100),  Cell(2, 8, 200),  Cell(4, 8, 390), Cell(8, 8, 400),
                                        Cell(1, 32, 300), Cell(2, 32, 385), Cell(4, 32, 379)};
  EXPECT_EQ(FindKnee(cells), &cells[5]);
  const std::vector<SweepCell> just_below = {Cell(1, 8, 94), Cell(2, 8, 100)};
  EXPECT_EQ(FindKnee(just_below), &just_below[1]);
}

TEST(SweepTest, ACellOfFewRequestsIsThin) {
  SweepCell cell = Cell(1, 8, 100);
  cell.requests = 19;
  EXPECT_TRUE(cell.IsThin());
  cell.requests = 20;
  EXPECT_FALSE(cell.IsThin());
  cell.concurrency = 32;
  cell.requests = 63;
  EXPECT_TRUE(cell.IsThin()) << "less than two for each at a time";
  cell.requests = 64;
  EXPECT_FALSE(cell.IsThin());
}

TEST(SweepTest, CellsWithErrorsCountOnlyWithoutOthers) {
  const std::vector<SweepCell> cells = {Cell(1, 8, 100), Cell(8, 8, 900, 3)};
  EXPECT_EQ(FindKnee(cells), &cells[0]);
  const std::vector<SweepCell> all = {Cell(1, 8, 100, 1), Cell(8, 8, 900, 3)};
  EXPECT_EQ(FindKnee(all), &all[1]);
  SweepCell skipped{.concurrency = 1, .batch_size = 1, .skipped = "too large"};
  EXPECT_EQ(FindKnee(absl::MakeConstSpan(&skipped, 1)), nullptr);
}

TEST(SweepTest, StepsEndAtTheMost) {
  EXPECT_THAT(ConcurrencySteps(1), ElementsAre(1));
  EXPECT_THAT(ConcurrencySteps(8), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(ConcurrencySteps(12), ElementsAre(1, 2, 4, 8, 12));
  EXPECT_THAT(BatchSizeSteps(1), ElementsAre(1));
  EXPECT_THAT(BatchSizeSteps(2048), ElementsAre(1, 8, 32, 128, 512, 2048));
  EXPECT_THAT(BatchSizeSteps(96), ElementsAre(1, 8, 32, 96));
}

TEST(SweepTest, SampleTextsAreDifferentAndHaveTheLengthsOfMemories) {
  std::set<std::string> texts;
  std::vector<size_t> lengths;
  for (int i = 0; i < 2000; ++i) {
    texts.insert(SampleText(i));
    lengths.push_back(SampleText(i).size());
  }
  EXPECT_EQ(texts.size(), 2000u);
  std::sort(lengths.begin(), lengths.end());
  EXPECT_GE(lengths.front(), 20u);
  EXPECT_LE(lengths.back(), 2000u + 200u);
  EXPECT_GT(lengths[1000], 150u);
  EXPECT_LT(lengths[1000], 350u);
}

// A server with so many places, each of which takes a time for a request, whatever is in it: its knee is known.
class PlacesServer {
 public:
  PlacesServer(int places, absl::Duration time)
      : places_(places), server_([this, time](const ServerRequest& request) {
          places_.acquire();
          std::this_thread::sleep_for(absl::ToChronoNanoseconds(time));  // the server's work
          places_.release();
          return OpenAiAnswer(request, {.dim = kDim});
        }) {}
  std::string url() const { return server_.url() + "/v1"; }

 private:
  std::counting_semaphore<> places_;
  ScriptedServer server_;
};

std::unique_ptr<EmbeddingClient> ClientOf(const std::string& url) {
  auto client = MakeApiClient({.api_base = url,
                               .model = {.name = "fake", .dim = kDim},
                               .concurrency = 64,
                               .fixed_concurrency = true,
                               .retry = {.max_attempts = 1, .max_wait = absl::ZeroDuration()}});
  EXPECT_THAT(client, IsOk());
  return *std::move(client);
}

TEST(SweepTest, FindsTheKneeOfARealServer) {
  // Where others use the machine, too, a place stays empty for some ms until the next request is there, and more
  // requests at a time do help. The longer the server takes for one, the less these count.
  absl::Duration time = absl::Milliseconds(25);
  std::vector<SweepCell> cells;
  const SweepCell* knee = nullptr;
  while (true) {
    PlacesServer server(4, time);
    const auto client = ClientOf(server.url());
    Sweeper sweeper(client.get(), {.time_per_cell = 20 * time});
    cells.clear();
    for (const int concurrency : ConcurrencySteps(16)) cells.push_back(sweeper.Measure(concurrency, 4, 1, {}));
    knee = FindKnee(cells);
    if ((knee != nullptr && knee->concurrency >= 2 && knee->concurrency <= 8) || time >= absl::Milliseconds(400)) break;
    time *= 2;
  }
  ASSERT_NE(knee, nullptr);
  EXPECT_GE(knee->concurrency, 2);
  EXPECT_LE(knee->concurrency, 8);
  for (const SweepCell& cell : cells) {
    EXPECT_EQ(cell.errors, 0);
    EXPECT_EQ(cell.latencies.size(), static_cast<size_t>(cell.requests));
    EXPECT_EQ(cell.tokens, cell.requests * 4 * 3) << "3 a text, says the server";
    EXPECT_GE(Percentile(cell.latencies, 0.5), time);
  }
  // With 16 at 4 places most wait for others.
  EXPECT_GE(Percentile(cells.back().latencies, 0.5), 2 * time);
  EXPECT_LE(cells.back().TextsPerSecond(), 4 * 4 / absl::ToDoubleSeconds(time) * 1.05) << "more than the server can do";
}

// A tokenizer that makes a token of every byte, the worst there is; each test of the bound counts at the server.
struct GreedyServer {
  std::atomic<int64_t> tokens{0};
  std::atomic<int> requests{0};
  ScriptedServer server{[this](const ServerRequest& request) {
    int64_t bytes = 0;
    for (const std::string& text : TextsOf(request.body)) bytes += static_cast<int64_t>(text.size());
    tokens += bytes;
    ServerReply reply{.body = OpenAiReply(TextsOf(request.body), VectorFormat::kBase64, {.dim = kDim, .usage = ""})};
    reply.body.pop_back();
    absl::StrAppend(&reply.body, ",\"usage\":{\"prompt_tokens\":", bytes, ",\"total_tokens\":", bytes, "}}");
    if (++requests % 7 == 0) reply = {.status = 500};  // worked on, charged perhaps
    return reply;
  }};
};

TEST(SweepTest, NeverTakesMoreTokensThanAllowed) {
  for (const bool even : {true, false}) {
    for (const int64_t max_tokens : {300, 5000, 40000}) {
      GreedyServer greedy;
      const auto client = ClientOf(greedy.server.url() + "/v1");
      Sweeper sweeper(client.get(), {.time_per_cell = absl::Seconds(20), .max_tokens = max_tokens, .even_texts = even});
      int left = 9, skipped = 0;
      for (const int batch_size : {1, 8, 32}) {
        for (const int concurrency : {1, 2, 4}) {
          const SweepCell cell = sweeper.Measure(concurrency, batch_size, left--, {});
          if (!cell.skipped.empty()) {
            ++skipped;
            EXPECT_THAT(cell.skipped, HasSubstr("are left"));
          }
        }
      }
      EXPECT_LE(greedy.tokens, max_tokens);
      EXPECT_LE(greedy.tokens, sweeper.tokens_used());
      EXPECT_LE(sweeper.tokens_used(), max_tokens);
      if (max_tokens == 40000) {
        EXPECT_GT(greedy.tokens, max_tokens / 3) << "the bound is there to be used";
      }
      if (max_tokens == 300) {
        EXPECT_GT(skipped, 0);
      }
    }
  }
}

TEST(SweepTest, ACellThatOnlyFailsEndsSoon) {
  ScriptedServer server([](const ServerRequest&) { return ServerReply{.status = 429}; });
  const auto client = ClientOf(server.url() + "/v1");
  Sweeper sweeper(client.get(), {.time_per_cell = absl::Seconds(1000)});
  const SweepCell cell = sweeper.Measure(4, 2, 1, {});
  EXPECT_EQ(cell.requests, 0);
  EXPECT_GE(cell.errors, 4);
  EXPECT_LE(cell.errors, 8);
  EXPECT_EQ(cell.http_429, cell.errors);
  EXPECT_THAT(cell.failure, HasError(absl::StatusCode::kResourceExhausted, HasSubstr("429")));
}

TEST(SweepTest, StopFinishesWhatIsUnderWay) {
  std::stop_source stop;
  ScriptedServer server([&](const ServerRequest& request) {
    if (request.number == 10) stop.request_stop();
    return OpenAiAnswer(request, {.dim = kDim});
  });
  const auto client = ClientOf(server.url() + "/v1");
  Sweeper sweeper(client.get(), {.time_per_cell = absl::Seconds(1000)});
  const SweepCell cell = sweeper.Measure(2, 2, 1, stop.get_token());
  EXPECT_GE(cell.requests, 11);
  EXPECT_LE(cell.requests, 14);
  EXPECT_EQ(cell.errors, 0);
}

}  // namespace
}  // namespace reembed
