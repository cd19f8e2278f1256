// SPDX-License-Identifier: Apache-2.0
#include "io/embed/endpoint_pool.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/api_client.h"
#include "io/embed/embedding_server.h"
#include "io/embed/own_trouble.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kDim = 8;

// A client whose requests the test answers by hand, in order. Its vectors are those of `model` texts.
class HandClient final : public EmbeddingClient {
 public:
  explicit HandClient(int dim = kDim) : model_{.name = "fake", .dim = dim} {}

  const Model& model() const override { return model_; }
  void Send(Batch* batch, Done done) override {
    ++stats_.requests;
    for (const BatchText& text : batch->texts()) {
      const bool canary = std::find(CanaryTexts().begin(), CanaryTexts().end(), text.text) != CanaryTexts().end();
      if (!canary) texts_sent.emplace_back(text.text);
    }
    if (!stopped.ok()) return std::move(done)(stopped);
    waiting.push_back({batch, std::move(done)});
  }
  absl::Status Decode(Batch* batch) const override {
    if (!decode_status.ok()) return decode_status;
    for (size_t i = 0; i < batch->texts().size(); ++i) {
      TextVector(absl::StrCat(serves, batch->texts()[i].text), batch->vectors().subspan(i * kDim, kDim));
    }
    return absl::OkStatus();
  }
  void Stop(InTheAir in_the_air, const absl::Status& why) override {
    if (stopped.ok()) stopped = why;
    if (in_the_air == InTheAir::kFinish) return;
    cancelled = true;
    for (auto& [batch, done] : std::exchange(waiting, {})) std::move(done)(stopped);
  }
  ClientStats stats() const override { return stats_; }

  // Answers the oldest request.
  void Answer(absl::Status status = absl::OkStatus()) {
    auto [batch, done] = std::move(waiting.front());
    waiting.pop_front();
    std::move(done)(std::move(status));
  }

  std::string serves = "model ";
  absl::Status decode_status;
  bool cancelled = false;
  absl::Status stopped;
  std::deque<std::pair<Batch*, Done>> waiting;
  std::vector<std::string> texts_sent;  // canary texts left out

 private:
  const Model model_;
  ClientStats stats_;
};

class EndpointPoolTest : public ::testing::Test {
 protected:
  struct Sent {
    std::unique_ptr<Batch> batch;
    std::optional<absl::Status> answer;
  };

  void MakePool(int clients) {
    std::vector<PoolEndpoint> endpoints;
    for (int i = 0; i < clients; ++i) {
      auto client = std::make_unique<HandClient>();
      clients_.push_back(client.get());
      endpoints.push_back(
          {.name = absl::StrCat("http://", i, "/v1"), .traits = {.concurrency = 1}, .client = std::move(client)});
    }
    options_.clock = [this] { return now_; };
    options_.note = [this](const std::string& note) { notes_.push_back(note); };
    options_.keep_reference = [this](absl::Span<const float> vectors) {
      kept_.assign(vectors.begin(), vectors.end());
      return keep_status_;
    };
    auto pool = EndpointPool::Make(std::move(endpoints), options_);
    ASSERT_THAT(pool, IsOk());
    pool_ = *std::move(pool);
  }

  // A pool whose clients have all shown their canary vectors; its first text has been answered by client 0.
  void MakeReady(int clients) {
    MakePool(clients);
    Sent* const first = Send("first");
    for (HandClient* const client : clients_) client->Answer();
    clients_[0]->Answer();
    ASSERT_TRUE(first->answer.has_value());
    ASSERT_THAT(*first->answer, IsOk());
    for (HandClient* const client : clients_) client->texts_sent.clear();
  }

  Sent* Send(const std::string& text) {
    sent_.push_back({.batch = std::make_unique<Batch>(BatchLimits{}, kDim)});
    Sent* const sent = &sent_.back();
    const auto number = static_cast<int64_t>(sent_.size()) - 1;
    sent->batch->AddRowWithText(number, KeyView(number), number, text, 10);
    sent->batch->set_range({number, number + 1});
    pool_->Send(sent->batch.get(), Done([sent](absl::Status status) { sent->answer = std::move(status); }));
    return sent;
  }

  // Answered, and the vector is that of its text by the model that client `by` serves.
  void ExpectDone(Sent* sent, int by) {
    ASSERT_TRUE(sent->answer.has_value());
    ASSERT_THAT(*sent->answer, IsOk());
    ASSERT_THAT(pool_->Decode(sent->batch.get()), IsOk());
    const std::string text(sent->batch->texts()[0].text);
    EXPECT_EQ(std::vector<float>(sent->batch->vectors().begin(), sent->batch->vectors().end()),
              TextVector(clients_[by]->serves + text, kDim));
  }

  std::deque<Sent> sent_;
  Moment now_ = absl::Seconds(100);
  EndpointPoolOptions options_;
  std::vector<std::string> notes_;
  std::vector<float> kept_;
  absl::Status keep_status_;
  std::vector<HandClient*> clients_;  // of the pool
  std::unique_ptr<EndpointPool> pool_;
};

// ---- Before the first work ----

TEST_F(EndpointPoolTest, NothingIsSentBeforeAllHaveShownTheSameVectors) {
  MakePool(2);
  EXPECT_EQ(pool_->stats().requests, 0);
  Sent* const one = Send("one");
  Sent* const two = Send("two");
  ASSERT_EQ(clients_[0]->waiting.size(), 1u);
  ASSERT_EQ(clients_[1]->waiting.size(), 1u);
  EXPECT_EQ(clients_[0]->waiting[0].first->texts().size(), CanaryTexts().size());
  clients_[1]->Answer();
  EXPECT_THAT(clients_[1]->texts_sent, IsEmpty());
  clients_[0]->Answer();
  EXPECT_EQ(kept_.size(), CanaryTexts().size() * kDim);
  EXPECT_THAT(clients_[0]->texts_sent, ElementsAre("one"));
  EXPECT_THAT(clients_[1]->texts_sent, ElementsAre("two"));
  clients_[0]->Answer();
  clients_[1]->Answer();
  ExpectDone(one, 0);
  ExpectDone(two, 1);
  EXPECT_EQ(pool_->checks_passed(), 2);
}

TEST_F(EndpointPoolTest, RefusesToMixTwoModels) {
  MakePool(2);
  clients_[1]->serves = "another model ";
  Sent* const one = Send("one");
  clients_[0]->Answer();
  clients_[1]->Answer();
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kFailedPrecondition,
                                     AllOf(HasSubstr("http://1/v1"), HasSubstr("http://0/v1"), HasSubstr("cosine"))));
  EXPECT_THAT(clients_[0]->texts_sent, IsEmpty());
  EXPECT_THAT(clients_[1]->texts_sent, IsEmpty());
}

TEST_F(EndpointPoolTest, RefusesAModelThatWasSwappedBetweenRuns) {
  for (const absl::string_view text : CanaryTexts()) {
    const std::vector<float> vector = TextVector(absl::StrCat("old ", text), kDim);
    options_.reference.insert(options_.reference.end(), vector.begin(), vector.end());
  }
  MakePool(1);
  Sent* const one = Send("one");
  clients_[0]->Answer();
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("this job began with")));
  EXPECT_THAT(clients_[0]->texts_sent, IsEmpty());
  EXPECT_THAT(kept_, IsEmpty());
}

TEST_F(EndpointPoolTest, WorkWaitsForTheReferenceToBeKept) {
  keep_status_ = absl::ResourceExhaustedError("disk full");
  MakePool(1);
  Sent* const one = Send("one");
  clients_[0]->Answer();
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_THAT(clients_[0]->texts_sent, IsEmpty());
}

TEST_F(EndpointPoolTest, AnUnusableCanaryReplyIsAskedForAgain) {
  MakePool(1);
  Sent* const one = Send("one");
  clients_[0]->decode_status = absl::DataLossError("half a reply");
  clients_[0]->Answer();
  EXPECT_FALSE(one->answer.has_value());
  clients_[0]->Answer();
  clients_[0]->Answer();
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kUnavailable, HasSubstr("asked 3 times")));
}

TEST_F(EndpointPoolTest, OneAloneWithoutCanarySendsAtOnce) {
  options_.check_first = false;
  options_.check_interval = absl::InfiniteDuration();
  MakePool(1);
  Sent* const one = Send("one");
  EXPECT_THAT(clients_[0]->texts_sent, ElementsAre("one"));
  clients_[0]->Answer();
  ExpectDone(one, 0);
  EXPECT_EQ(pool_->stats().requests, 1);
}

TEST_F(EndpointPoolTest, DeadAtTheStartJoinsWhenItAnswers) {
  MakePool(2);
  Sent* const one = Send("one");
  clients_[0]->Answer(absl::UnavailableError("no connection"));
  clients_[1]->Answer();
  EXPECT_THAT(notes_, ElementsAre(AllOf(HasSubstr("http://0/v1"), HasSubstr("is not used for now"),
                                        HasSubstr("no connection"))));
  EXPECT_THAT(clients_[1]->texts_sent, ElementsAre("one"));
  clients_[1]->Answer();
  ExpectDone(one, 1);
  now_ += absl::Seconds(2);
  Send("two");
  EXPECT_THAT(clients_[0]->texts_sent, IsEmpty()) << "it has not been checked yet";
  ASSERT_EQ(clients_[0]->waiting.size(), 1u) << "but it is probed";
  clients_[0]->Answer();
  EXPECT_THAT(notes_.back(), HasSubstr("is used again"));
  Send("three");
  EXPECT_THAT(clients_[0]->texts_sent, ElementsAre("three"));
}

// ---- Failures ----

TEST_F(EndpointPoolTest, FailedWorkIsDoneByTheOther) {
  MakeReady(2);
  Sent* const one = Send("one");
  ASSERT_THAT(clients_[0]->texts_sent, ElementsAre("one"));
  clients_[0]->Answer(absl::UnavailableError("it died"));
  EXPECT_FALSE(one->answer.has_value());
  EXPECT_THAT(clients_[1]->texts_sent, ElementsAre("one"));
  clients_[1]->Answer();
  ExpectDone(one, 1);
  EXPECT_EQ(pool_->endpoints()[0].state, EndpointState::kResting);
  EXPECT_EQ(pool_->endpoints()[0].trouble, "it died");
  EXPECT_EQ(pool_->endpoints()[1].texts, 1);
  EXPECT_EQ(pool_->stats().requests_retried, 1);
  // Nobody sends to it, until it answers a probe.
  Send("two");
  Send("three");
  EXPECT_THAT(clients_[1]->texts_sent, ElementsAre("one", "two", "three"));
  now_ += absl::Seconds(2);
  clients_[1]->Answer();
  ASSERT_EQ(clients_[0]->waiting.size(), 1u);
  clients_[0]->Answer();
  Send("four");
  EXPECT_THAT(clients_[0]->texts_sent, ElementsAre("one", "four"));
}

TEST_F(EndpointPoolTest, OneThatComesBackWithAnotherModelStopsTheRun) {
  MakeReady(2);
  Send("one");
  clients_[0]->Answer(absl::UnavailableError("it died"));
  clients_[0]->serves = "another model ";
  now_ += absl::Seconds(2);
  Sent* const two = Send("two");
  clients_[0]->Answer();
  ASSERT_TRUE(two->answer.has_value());
  EXPECT_THAT(*two->answer, HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("was changed during the run")));
}

TEST_F(EndpointPoolTest, ARefusedKeyLeavesThePool) {
  MakeReady(2);
  Sent* const one = Send("one");
  clients_[0]->Answer(absl::UnauthenticatedError("bad key"));
  EXPECT_THAT(notes_,
              ElementsAre(AllOf(HasSubstr("http://0/v1"), HasSubstr("is not used any more"), HasSubstr("bad key"))));
  clients_[1]->Answer();
  ExpectDone(one, 1);
  now_ += absl::Hours(1);
  Sent* const two = Send("two");
  EXPECT_THAT(clients_[0]->waiting, IsEmpty());
  // The last one leaves as well: the first message is the run's.
  clients_[1]->Answer(absl::FailedPreconditionError("quota gone"));
  if (!two->answer.has_value()) clients_[1]->Answer(absl::FailedPreconditionError("quota gone"));
  ASSERT_TRUE(two->answer.has_value());
  EXPECT_THAT(*two->answer, HasError(absl::StatusCode::kUnauthenticated, HasSubstr("bad key")));
}

TEST_F(EndpointPoolTest, BothDeadEndsAfterSomeTriesOfEach) {
  MakeReady(2);
  Sent* const one = Send("one");
  for (int i = 0; i < 100 && !one->answer.has_value(); ++i) {
    for (HandClient* const client : clients_) {
      if (!client->waiting.empty()) client->Answer(absl::UnavailableError("dead"));
    }
  }
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kUnavailable, HasSubstr("dead")));
  EXPECT_EQ(clients_[0]->texts_sent.size(), 3u);
  EXPECT_EQ(clients_[1]->texts_sent.size(), 3u);
}

TEST_F(EndpointPoolTest, OneAloneFailsAsItsClientDoes) {
  MakeReady(1);
  Sent* const one = Send("one");
  clients_[0]->Answer(absl::ResourceExhaustedError("later"));
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kResourceExhausted, "later"));
  Sent* const two = Send("two");
  clients_[0]->Answer();
  ExpectDone(two, 0);
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(EndpointPoolTest, AnUnusableReplyIsAskedForElsewhere) {
  MakeReady(2);
  Sent* const one = Send("one");
  clients_[0]->Answer();
  clients_[0]->decode_status = absl::DataLossError("half a reply");
  ASSERT_THAT(pool_->Decode(one->batch.get()), HasError(absl::StatusCode::kDataLoss, "half a reply"));
  one->answer.reset();
  pool_->Send(one->batch.get(), Done([one](absl::Status status) { one->answer = std::move(status); }));
  clients_[1]->Answer();
  ExpectDone(one, 1);
}

TEST_F(EndpointPoolTest, WhenWorkHasFailedEverywhereTheRestEndsSoon) {
  MakeReady(2);
  Sent* const one = Send("one");
  Sent* const two = Send("two");
  clients_[1]->waiting.clear();  // "two" ends at last
  two->answer.reset();
  Sent* const three = Send("three");
  while (!one->answer.has_value()) {
    for (HandClient* const client : clients_) {
      if (!client->waiting.empty()) client->Answer(absl::UnavailableError("dead"));
    }
  }
  const size_t sent = clients_[0]->texts_sent.size() + clients_[1]->texts_sent.size();
  while (!three->answer.has_value()) {
    for (HandClient* const client : clients_) {
      if (!client->waiting.empty()) client->Answer(absl::UnavailableError("dead"));
    }
  }
  EXPECT_LE(clients_[0]->texts_sent.size() + clients_[1]->texts_sent.size(), sent);
}

// ---- A model that is swapped while the run goes on ----

TEST_F(EndpointPoolTest, ASwapStopsEverything) {
  MakeReady(1);
  for (int i = 0; i < 3; ++i) {
    Sent* const sent = Send(absl::StrCat("good ", i));
    clients_[0]->Answer();
    ExpectDone(sent, 0);
  }
  now_ += absl::Minutes(10);
  Sent* const fourth = Send("fourth");
  ASSERT_EQ(clients_[0]->waiting.size(), 2u) << "the work and a canary text";
  clients_[0]->serves = "another model ";
  Sent* const fifth = Send("fifth");
  ASSERT_EQ(clients_[0]->waiting.size(), 3u) << "one check at a time";
  auto canary = std::find_if(clients_[0]->waiting.begin(), clients_[0]->waiting.end(), [](const auto& waiting) {
    return std::find(CanaryTexts().begin(), CanaryTexts().end(), waiting.first->texts()[0].text) != CanaryTexts().end();
  });
  ASSERT_NE(canary, clients_[0]->waiting.end());
  EXPECT_EQ(canary->first->texts().size(), 1u);
  Done done = std::move(canary->second);
  clients_[0]->waiting.erase(canary);
  std::move(done)(absl::OkStatus());
  // What is in the air ends with the same words, and nothing more leaves.
  for (Sent* const sent : {fourth, fifth, Send("sixth")}) {
    ASSERT_TRUE(sent->answer.has_value());
    EXPECT_THAT(*sent->answer, HasError(absl::StatusCode::kFailedPrecondition,
                                        AllOf(HasSubstr("was changed during the run"), HasSubstr("3 vectors"),
                                              HasSubstr("between the 2. and the 4."))));
  }
  EXPECT_EQ(clients_[0]->texts_sent.back(), "fifth");
  EXPECT_THAT(pool_->Decode(sent_[0].batch.get()),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("changed")))
      << "what came is not stored any more";
}

TEST_F(EndpointPoolTest, AGoodCheckGoesUnnoticed) {
  MakeReady(2);
  now_ += absl::Minutes(10);
  Sent* const one = Send("one");
  EXPECT_EQ(clients_[0]->waiting.size() + clients_[1]->waiting.size(), 3u);
  for (HandClient* const client : clients_) {
    while (!client->waiting.empty()) client->Answer();
  }
  ExpectDone(one, 0);
  EXPECT_EQ(pool_->checks_passed(), 4);
  EXPECT_THAT(notes_, IsEmpty());
}

// ---- Over the wire ----

class EndpointPoolWireTest : public ::testing::Test {
 protected:
  // One text through the pool.
  absl::Status Embed(EndpointPool* pool, const std::string& text) {
    Batch batch(BatchLimits{}, kDim);
    batch.AddRowWithText(0, int64_t{0}, 0, text, 5);
    std::promise<absl::Status> promise;
    pool->Send(&batch, Done([&](absl::Status status) { promise.set_value(std::move(status)); }));
    if (absl::Status sent = promise.get_future().get(); !sent.ok()) return sent;
    if (absl::Status decoded = pool->Decode(&batch); !decoded.ok()) return decoded;
    const std::vector<float> vector(batch.vectors().begin(), batch.vectors().end());
    return vector == TextVector(text, kDim) ? absl::OkStatus() : absl::InternalError("a foreign vector");
  }

  static PoolEndpoint EndpointAt(const ScriptedServer& server) {
    const std::string base = server.url() + "/v1";
    auto client =
        MakeApiClient({.api_base = base,
                       .model = {.name = "fake", .dim = kDim},
                       .retry = {.max_attempts = 1, .first_backoff = absl::Milliseconds(1), .outage_waits = 0}});
    EXPECT_THAT(client, IsOk());
    return {.name = base, .traits = {.concurrency = 2}, .client = *std::move(client)};
  }
};

TEST_F(EndpointPoolWireTest, OneThatIsBackTakesPartAgain) {
  std::atomic<bool> away{false};
  std::atomic<int> rows{0};
  ScriptedServer blinking([&](const ServerRequest& request) {
    if (away) return ServerReply{.status = 503};
    if (absl::StrContains(request.body, "a row")) ++rows;
    return OpenAiAnswer(request, {.dim = kDim});
  });
  ScriptedServer steady([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  std::vector<PoolEndpoint> endpoints;
  endpoints.push_back(EndpointAt(blinking));
  endpoints.push_back(EndpointAt(steady));
  endpoints.back().traits.concurrency = 1;
  auto pool = EndpointPool::Make(std::move(endpoints), {.chooser = {.first_rest = absl::ZeroDuration()}});
  ASSERT_THAT(pool, IsOk());
  // Two at a time, so that both have something to do.
  const auto embed_until = [&](auto is_true) {
    for (int i = 0; i < 10000 && !is_true(); ++i) {
      auto other = std::async(std::launch::async, [&] { return Embed(pool->get(), absl::StrCat("a row, too, ", i)); });
      ASSERT_THAT(Embed(pool->get(), absl::StrCat("a row ", i)), IsOk());
      ASSERT_THAT(other.get(), IsOk());
    }
    EXPECT_TRUE(is_true());
  };
  embed_until([&] { return rows > 0; });
  away = true;
  embed_until([&] { return pool->get()->endpoints()[0].state == EndpointState::kResting; });
  const int before = rows;
  away = false;
  embed_until([&] { return rows > before; });
  EXPECT_EQ(pool->get()->endpoints()[0].state, EndpointState::kWorking);
}

// With equal slots, the share of each is its speed. The servers answer with prepared vectors, so that their time is the
// latency alone.
TEST_F(EndpointPoolWireTest, SlowAndFastShareByTheirSpeed) {
  std::vector<std::unique_ptr<EmbeddingServer>> servers;
  std::vector<PoolEndpoint> endpoints;
  for (const int milliseconds : {100, 300}) {
    auto server = EmbeddingServer::Start(
        {.dim = 32, .mode = EmbeddingServerMode::kPrepared, .speed = {.latency = absl::Milliseconds(milliseconds)}});
    ASSERT_THAT(server, IsOk());
    auto client =
        MakeApiClient({.api_base = (*server)->base_url(), .model = {.name = "fake", .dim = 32}, .concurrency = 4});
    ASSERT_THAT(client, IsOk());
    endpoints.push_back({.name = (*server)->base_url(), .traits = {.concurrency = 4}, .client = *std::move(client)});
    servers.push_back(*std::move(server));
  }
  auto pool = EndpointPool::Make(std::move(endpoints), {});
  ASSERT_THAT(pool, IsOk());
  // A dozen under way at a time, as a pipeline has them.
  std::atomic<int> left{160};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 12; ++t) {
      threads.emplace_back([&] {
        Batch batch(BatchLimits{}, 32);
        batch.AddRowWithText(0, int64_t{0}, 0, "a text", 5);
        while (left-- > 0) {
          batch.texts()[0].answered = false;
          std::promise<absl::Status> promise;
          pool->get()->Send(&batch, Done([&](absl::Status status) { promise.set_value(std::move(status)); }));
          EXPECT_THAT(promise.get_future().get(), IsOk());
          EXPECT_THAT(pool->get()->Decode(&batch), IsOk());
        }
      });
    }
  }
  const std::vector<EndpointReport> reports = pool->get()->endpoints();
  const double ratio = static_cast<double>(reports[0].texts) / static_cast<double>(reports[1].texts);
  EXPECT_NEAR(ratio, 3, 3 * 0.15) << reports[0].texts << " and " << reports[1].texts;
  EXPECT_NEAR(reports[0].tokens_per_second / reports[1].tokens_per_second, 3, 3 * 0.15);
}

// Clients on threads of their own, some of which fail at random moments: every piece of work is answered once.
TEST_F(EndpointPoolWireTest, EveryPieceOfWorkIsAnsweredOnce) {
  const auto seed = static_cast<uint64_t>(std::random_device()());
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::atomic<int> answers{0};
  const auto flaky = [&](const ServerRequest& request) {
    std::mt19937_64 random(seed + answers++);
    // The first request shows the canary's vectors: where nobody does, nothing begins.
    if (request.number > 0 && random() % 4 == 0) return ServerReply{.status = 503};
    return OpenAiAnswer(request, {.dim = kDim});
  };
  ScriptedServer one(flaky), two(flaky), three(flaky);
  std::vector<PoolEndpoint> endpoints;
  for (ScriptedServer* const server : {&one, &two, &three}) endpoints.push_back(EndpointAt(*server));
  auto pool = EndpointPool::Make(
      std::move(endpoints),
      {.chooser = {.first_rest = absl::ZeroDuration(), .longest_rest = absl::ZeroDuration(), .max_tries = 1000},
       .check_interval = absl::Nanoseconds(1)});
  ASSERT_THAT(pool, IsOk());
  constexpr int kThreads = 4, kTexts = 100;
  std::atomic<int> good{0}, bad{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kTexts; ++i) {
          const absl::Status status = Embed(pool->get(), absl::StrCat("row ", t, " ", i));
          ++(status.ok() ? good : bad);
          EXPECT_THAT(status, IsOk());
        }
      });
    }
  }
  EXPECT_EQ(good, kThreads * kTexts);
  EXPECT_THAT(pool->get()->FinishChecks(), IsOk());
  int64_t texts = 0;
  for (const EndpointReport& report : pool->get()->endpoints()) texts += report.texts;
  EXPECT_EQ(texts, kThreads * kTexts);
}

// The pool ends while its clients answer.
TEST_F(EndpointPoolWireTest, EndsWithWorkUnderWay) {
  ScriptedServer server([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  ScriptedServer broken([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kClose}; });
  for (int round = 0; round < 20; ++round) {
    std::vector<PoolEndpoint> endpoints;
    endpoints.push_back(EndpointAt(broken));
    endpoints.push_back(EndpointAt(server));
    auto pool = EndpointPool::Make(std::move(endpoints), {.chooser = {.first_rest = absl::ZeroDuration()}});
    ASSERT_THAT(pool, IsOk());
    std::vector<std::unique_ptr<Batch>> batches;
    std::atomic<int> answered{0};
    for (int i = 0; i < 20; ++i) {
      batches.push_back(std::make_unique<Batch>(BatchLimits{}, kDim));
      batches.back()->AddRowWithText(i, int64_t{i}, i, absl::StrCat("row ", i), 5);
      pool->get()->Send(batches.back().get(), Done([&](const absl::Status&) { ++answered; }));
    }
    pool->reset();
    EXPECT_EQ(answered, 20);
  }
}

// ---- The end ----

TEST_F(EndpointPoolTest, CancelAnswersWhatIsParkedAndWhatIsSent) {
  MakePool(2);
  Sent* const parked = Send("parked");
  pool_->Cancel();
  ASSERT_TRUE(parked->answer.has_value());
  EXPECT_THAT(*parked->answer, HasError(absl::StatusCode::kCancelled, HasSubstr("")));
  Sent* const late = Send("late");
  ASSERT_TRUE(late->answer.has_value());
  EXPECT_THAT(*late->answer, HasError(absl::StatusCode::kCancelled, HasSubstr("")));
}

TEST_F(EndpointPoolTest, AfterAStopNothingIsSentAndWhatIsInTheAirIsFinished) {
  MakeReady(2);
  Sent* const good = Send("good");
  Sent* const bad = Send("bad");
  pool_->StopSending(absl::CancelledError("told to stop"));
  Sent* const late = Send("late");
  ASSERT_TRUE(late->answer.has_value());
  EXPECT_THAT(*late->answer, HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
  EXPECT_FALSE(good->answer.has_value());
  for (HandClient* const client : clients_) {
    if (client->waiting.empty()) continue;
    client->Answer(client->waiting.front().first == good->batch.get() ? absl::OkStatus()
                                                                      : absl::UnavailableError("HTTP 500"));
  }
  EXPECT_THAT(*good->answer, IsOk());
  EXPECT_THAT(pool_->Decode(good->batch.get()), IsOk());
  EXPECT_THAT(*bad->answer, HasError(absl::StatusCode::kUnavailable, HasSubstr("500")));
  for (HandClient* const client : clients_) EXPECT_THAT(client->waiting, IsEmpty());
}

TEST_F(EndpointPoolTest, AStopAnswersWhatIsParked) {
  MakePool(2);
  Sent* const parked = Send("parked");
  pool_->StopSending(absl::CancelledError("told to stop"));
  ASSERT_TRUE(parked->answer.has_value());
  EXPECT_THAT(*parked->answer, HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
}

TEST_F(EndpointPoolTest, CancelledWorkIsNotSentElsewhere) {
  MakeReady(2);
  Sent* const one = Send("one");
  pool_->Cancel();
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kCancelled, HasSubstr("")));
  EXPECT_THAT(clients_[1]->texts_sent, IsEmpty());
}

TEST_F(EndpointPoolTest, OurOwnTroubleIsNotSentElsewhere) {
  MakeReady(2);
  Sent* const one = Send("one");
  clients_[0]->Answer(OwnTrouble(absl::ResourceExhaustedError("disk full")));
  ASSERT_TRUE(one->answer.has_value());
  EXPECT_THAT(*one->answer, HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_THAT(*Send("two")->answer, HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_THAT(clients_[1]->texts_sent, IsEmpty());
  EXPECT_EQ(pool_->endpoints()[0].state, EndpointState::kWorking);
}

TEST_F(EndpointPoolTest, ModelsMustHaveOneNameAndWidth) {
  std::vector<PoolEndpoint> endpoints;
  endpoints.push_back({.name = "a", .client = std::make_unique<HandClient>(8)});
  endpoints.push_back({.name = "b", .client = std::make_unique<HandClient>(16)});
  EXPECT_THAT(EndpointPool::Make(std::move(endpoints), {}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("b: expected the model fake of 8")));
}

}  // namespace
}  // namespace reembed
