// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/pace/run_control.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/api_client.h"
#include "io/embed/embedding_server.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

// How the flow paces itself over a real wire; what a client promises besides is in api_client_test.cc.

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 32;

std::unique_ptr<Batch> MakeBatch(int texts, int first = 0) {
  auto batch = std::make_unique<Batch>(BatchLimits{}, kDim);
  for (int i = first; i < first + texts; ++i) {
    batch->AddRowWithText(i, KeyView(int64_t(i)), i, absl::StrCat("text number ", i), 3);
  }
  return batch;
}

class RequestFlowTest : public ::testing::Test {
 protected:
  RequestFlowTest() {
    options_.model = {.name = "fake", .dim = kDim};
    options_.retry = {.first_backoff = absl::Milliseconds(5), .max_wait = absl::Milliseconds(200)};
  }

  void Connect(const std::string& url) {
    options_.api_base = url;
    auto client = MakeApiClient(options_);
    ASSERT_THAT(client, IsOk());
    client_ = *std::move(client);
  }

  void Serve(ScriptedServer::Handler handler) {
    client_.reset();
    scripted_ = std::make_unique<ScriptedServer>(std::move(handler));
    Connect(absl::StrCat(scripted_->url(), "/v1"));
  }

  void Serve(EmbeddingServerOptions options) {
    client_.reset();
    options.dim = kDim;
    auto server = EmbeddingServer::Start(options);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    Connect(server_->base_url());
  }

  std::future<absl::Status> Start(Batch* batch) {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    client_->Send(batch, Done([promise](absl::Status status) { promise->set_value(std::move(status)); }));
    return promise->get_future();
  }

  // So many batches, sent at once, each answered once.
  std::vector<absl::Status> SendAll(int count) {
    std::vector<std::unique_ptr<Batch>> batches;
    std::vector<std::future<absl::Status>> answers;
    for (int i = 0; i < count; ++i) {
      batches.push_back(MakeBatch(2));
      answers.push_back(Start(batches.back().get()));
    }
    std::vector<absl::Status> statuses;
    for (int i = 0; i < count; ++i) {
      statuses.push_back(answers[i].get());
      if (statuses.back().ok()) statuses.back() = client_->Decode(batches[i].get());
    }
    return statuses;
  }

  ApiOptions options_;
  std::unique_ptr<ScriptedServer> scripted_;
  std::unique_ptr<EmbeddingServer> server_;
  std::unique_ptr<EmbeddingClient> client_;
};

TEST_F(RequestFlowTest, LearnsTheQuotaFromHeadersAndIsNotRefused) {
  options_.concurrency = 16;
  Serve({.limits = {.requests_per_minute = 3000, .window = absl::Seconds(1)}});
  const Moment start = MonotonicNow();
  for (const absl::Status& status : SendAll(60)) EXPECT_THAT(status, IsOk());
  // 50 a second, and at most the burst at once.
  EXPECT_GE(MonotonicNow() - start, absl::Seconds((60 - 12.5 - 2) / 50));
  EXPECT_EQ(server_->counts().limited, 0);
}

TEST_F(RequestFlowTest, FirstAnswersTellAboutASmallQuotaBeforeMoreIsSent) {
  options_.concurrency = 16;
  options_.retry.max_wait = absl::Hours(1);
  Serve({.limits = {.requests_per_minute = 3, .window = absl::Seconds(1)}});
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 10; ++i) {
    batches.push_back(MakeBatch(1));
    answers.push_back(Start(batches.back().get()));
  }
  EXPECT_THAT(answers[0].get(), IsOk());
  // The second may be refused, or may not have left yet when the first answer tells of the quota.
  while (client_->stats().quota_wait == absl::ZeroDuration()) std::this_thread::yield();
  EXPECT_LE(client_->stats().requests, 2);
  client_.reset();
  for (int i = 1; i < 10; ++i) {
    EXPECT_THAT(answers[i].get(), HasError(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
  }
}

TEST_F(RequestFlowTest, SaysForHowLongTheQuotaHoldsBackWhatIsNext) {
  options_.concurrency = 1;
  options_.retry.max_wait = absl::Hours(1);
  Serve([](const ServerRequest& request) {
    if (request.number == 0) return OpenAiAnswer(request, {.dim = kDim});
    ServerReply reply = OpenAiError(429, "rate_limit_exceeded", "requests", "slow down");
    reply.headers.emplace_back("Retry-After", "600");
    return reply;
  });
  for (const absl::Status& status : SendAll(1)) EXPECT_THAT(status, IsOk());
  EXPECT_EQ(client_->stats().quota_wait, absl::ZeroDuration());  // nothing is in line
  const auto batch = MakeBatch(1);
  std::future<absl::Status> answer = Start(batch.get());
  while (client_->stats().quota_wait == absl::ZeroDuration()) std::this_thread::yield();
  EXPECT_GT(client_->stats().quota_wait, absl::Minutes(1));
  EXPECT_LE(client_->stats().quota_wait, absl::Seconds(660));
  client_.reset();
  EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
}

TEST_F(RequestFlowTest, WhatIsWishedWhileItRunsHoldsFromThenOn) {
  RunControl control(8);
  options_.control = &control;
  options_.concurrency = 4;
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  for (const absl::Status& status : SendAll(3)) EXPECT_THAT(status, IsOk());
  EXPECT_GT(client_->stats().latency, absl::ZeroDuration());
  control.Pause();
  const int64_t before = client_->stats().requests;
  const auto batch = MakeBatch(2);
  std::future<absl::Status> answer = Start(batch.get());
  ASSERT_THAT(control.SetConcurrency(1), IsOk());
  ASSERT_THAT(control.SetRate(60000, std::nullopt), IsOk());
  EXPECT_EQ(client_->stats().requests, before) << "no change but Resume() lets anything leave";
  EXPECT_EQ(client_->stats().concurrency, 1);
  EXPECT_EQ(client_->stats().requests_per_minute, 60000);
  EXPECT_EQ(client_->stats().quota_wait, absl::ZeroDuration());
  control.Resume();
  EXPECT_THAT(answer.get(), IsOk());
  EXPECT_EQ(client_->stats().requests, before + 1);
  client_.reset();  // which follows the control
  control.Pause();
}

TEST_F(RequestFlowTest, APausedFlowEndsWhenItIsTold) {
  RunControl control(8);
  control.Pause();
  options_.control = &control;
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  const auto batch = MakeBatch(2);
  std::future<absl::Status> answer = Start(batch.get());
  client_->StopSending(absl::CancelledError("stopped"));
  EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("stopped")));
  EXPECT_EQ(client_->stats().requests, 0);
  client_.reset();
}

TEST_F(RequestFlowTest, ServerThatComesBackIsUsedAgainByAll) {
  options_.concurrency = 8;
  options_.retry.max_wait = absl::Seconds(60);
  for (const EmbeddingServerOutage outage : {EmbeddingServerOutage::kUnavailable503, EmbeddingServerOutage::kReset}) {
    Serve(EmbeddingServerOptions{});
    for (const absl::Status& status : SendAll(20)) EXPECT_THAT(status, IsOk());
    server_->SetOutage(outage);
    auto during = std::async(std::launch::async, [this] { return SendAll(20); });
    // More failures than any request may have attempts, in a short time.
    while (client_->stats().requests_retried < 3 * options_.retry.max_attempts) std::this_thread::yield();
    server_->SetOutage(EmbeddingServerOutage::kNone);
    for (const absl::Status& status : during.get()) EXPECT_THAT(status, IsOk());
  }
}

TEST_F(RequestFlowTest, OutageWithoutAnEndFailsAllThatWaits) {
  options_.concurrency = 4;
  options_.retry.max_wait = absl::Milliseconds(20);  // so an outage may last 200 ms
  Serve(EmbeddingServerOptions{});
  for (const absl::Status& status : SendAll(4)) EXPECT_THAT(status, IsOk());
  server_->SetOutage(EmbeddingServerOutage::kReset);
  for (const absl::Status& status : SendAll(12)) {
    EXPECT_THAT(status, HasError(absl::StatusCode::kUnavailable,
                                 AllOf(HasSubstr("no answer to any request for "), Not(HasSubstr("request for 0")),
                                       Not(HasSubstr(" 1 attempts")))));
  }
}

TEST_F(RequestFlowTest, ServerMayForbidAnotherAttempt) {
  Serve([](const ServerRequest&) { return ServerReply{.status = 500, .headers = {{"x-should-retry", "false"}}}; });
  const auto batch = MakeBatch(2);
  EXPECT_THAT(Start(batch.get()).get(),
              HasError(absl::StatusCode::kUnavailable, HasSubstr("trying again will not help")));
  EXPECT_EQ(scripted_->request_count(), 1);
}

// A field that the API does not know looks like a bad text: halving comes to one that is refused alone, and then a text
// of our own is refused likewise.
// The threads of a pipeline hand batches over in any order, and a file waits for its first rows.
TEST_F(RequestFlowTest, TheFirstRowsLeaveFirst) {
  options_.concurrency = 1;
  std::promise<void> all_wait;
  std::shared_future<void> all = all_wait.get_future().share();
  std::mutex mutex;
  std::vector<std::string> seen;
  Serve([&](const ServerRequest& request) {
    all.wait();
    const std::lock_guard lock(mutex);
    seen.push_back(TextsOf(request.body)[0]);
    return OpenAiAnswer(request, {.dim = kDim});
  });
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (const int first : {0, 40, 30, 10, 20}) {  // the first has left when the others come
    batches.push_back(MakeBatch(2, first));
    batches.back()->set_range({first, first + 2});
    answers.push_back(Start(batches.back().get()));
  }
  all_wait.set_value();
  for (std::future<absl::Status>& answer : answers) EXPECT_THAT(answer.get(), IsOk());
  EXPECT_THAT(seen,
              ElementsAre("text number 0", "text number 10", "text number 20", "text number 30", "text number 40"));
}

TEST_F(RequestFlowTest, WhatIsRefusedLikeATextOfOurOwnIsNotForTheTexts) {
  Serve([](const ServerRequest& request) {
    return OpenAiError(400, "", "invalid_request_error", absl::StrCat("unknown field (request ", request.number, ")"));
  });
  const auto batch = MakeBatch(64);
  EXPECT_THAT(Start(batch.get()).get(),
              HasError(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("HTTP 400: unknown field"), HasSubstr("the texts are not the cause"))));
  EXPECT_LE(scripted_->request_count(), 64 / 2);  // and not 127
  const int before = scripted_->request_count();
  EXPECT_FALSE(Start(MakeBatch(1).get()).get().ok());
  EXPECT_EQ(scripted_->request_count(), before);
}

bool IsOurs(const ServerRequest& request) { return absl::StartsWith(TextsOf(request.body)[0], "Are you well?"); }

TEST_F(RequestFlowTest, TextsAreToBlameWhereOthersAreTaken) {
  for (const bool one_is_taken : {false, true}) {
    Serve([one_is_taken](const ServerRequest& request) {
      const std::vector<std::string> texts = TextsOf(request.body);
      if (IsOurs(request) || (one_is_taken && texts.size() == 1 && texts[0] == "text number 0")) {
        return OpenAiAnswer(request, {.dim = kDim});
      }
      return OpenAiError(400, "", "invalid_request_error", "no good");
    });
    const auto batch = MakeBatch(8);
    EXPECT_THAT(Start(batch.get()).get(), IsOk());
    const auto texts = batch->texts();
    EXPECT_EQ(std::count_if(texts.begin(), texts.end(), [](const BatchText& text) { return !text.reject.ok(); }),
              one_is_taken ? 7 : 8);
    EXPECT_LE(scripted_->request_count(), 15 + 8 + 4) << "halving, each once more, and a few of our own";
  }
}

// The model is away for a moment, and the words are nobody's: nobody is rejected for what all would have met.
TEST_F(RequestFlowTest, RefusalsOfAllForAWhileRejectNobody) {
  std::atomic<int> refused = 0;
  Serve([&refused](const ServerRequest& request) {
    // Ours is taken at once, as its first request finds the model back.
    if (!IsOurs(request) && request.number >= 4 && refused.fetch_add(1) < 5) {
      return OpenAiError(400, "", "", "the model has gone for a walk");
    }
    return OpenAiAnswer(request, {.dim = kDim});
  });
  for (const absl::Status& status : SendAll(40)) EXPECT_THAT(status, IsOk());
  EXPECT_GE(refused, 5);
  const auto one = MakeBatch(1);
  refused = 4;
  EXPECT_THAT(Start(one.get()).get(), IsOk());
  EXPECT_THAT(one->texts()[0].reject, IsOk());
}

// A text that breaks the server each time is found while the others are embedded.
TEST_F(RequestFlowTest, ATextThatAlwaysBreaksIsFoundAndRejectedInTheApisWords) {
  for (const int size : {1, 32}) {
    Serve([size](const ServerRequest& request) {
      for (const std::string& text : TextsOf(request.body)) {
        if (text == absl::StrCat("text number ", size - 1)) {
          return ServerReply{.status = 500,
                             .body = R"({"error":"failed to encode response: json: unsupported value: NaN"})"};
        }
      }
      return OpenAiAnswer(request, {.dim = kDim});
    });
    auto well = std::make_unique<Batch>(BatchLimits{}, kDim);
    well->AddRowWithText(0, KeyView(int64_t{0}), 0, "a good text", 3);
    ASSERT_THAT(Start(well.get()).get(), IsOk());
    const auto batch = MakeBatch(size);
    ASSERT_THAT(Start(batch.get()).get(), IsOk());
    for (int i = 0; i < size; ++i) EXPECT_EQ(batch->texts()[i].reject.ok(), i < size - 1) << i;
    EXPECT_THAT(
        batch->texts()[size - 1].reject,
        HasError(absl::StatusCode::kUnavailable, AllOf(HasSubstr("unsupported value: NaN"), HasSubstr("alone"))));
    EXPECT_LE(scripted_->request_count(), 1 + 10 + 2 * 5 + 8) << size;
  }
}

// What may be bought twice is written down before it is.
TEST_F(RequestFlowTest, ALossIsNotedBeforeItsTextsLeaveAgain) {
  std::promise<Done> lost;
  int64_t texts_lost = 0;
  options_.lost = [&](int64_t texts, Done noted) {
    texts_lost += texts;
    lost.set_value(std::move(noted));
  };
  std::atomic<int> sent{0};
  Serve([&](const ServerRequest& request) {
    const bool mine = absl::StrContains(request.body, "text number 0");
    if (mine && ++sent == 1) return ServerReply{.fault = ServerFault::kClose};
    return OpenAiAnswer(request, {.dim = kDim});
  });
  const auto batch = MakeBatch(3);
  std::future<absl::Status> answer = Start(batch.get());
  Done noted = lost.get_future().get();
  EXPECT_EQ(texts_lost, 3);
  for (int i = 0; i < 50; ++i) {
    const auto other = MakeBatch(1, 100 + i);
    ASSERT_THAT(Start(other.get()).get(), IsOk());
  }
  EXPECT_EQ(sent, 1);
  std::move(noted)(absl::OkStatus());
  EXPECT_THAT(answer.get(), IsOk());
  EXPECT_EQ(sent, 2);
  EXPECT_EQ(client_->stats().texts_unanswered, 3);
}

TEST_F(RequestFlowTest, ALossThatCannotBeNotedIsNotAskedForAgain) {
  options_.lost = [](int64_t, Done noted) { std::move(noted)(absl::ResourceExhaustedError("disk full")); };
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kClose}; });
  const auto batch = MakeBatch(3);
  EXPECT_THAT(Start(batch.get()).get(), HasError(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_EQ(scripted_->request_count(), 1);
}

// What is not answered in time goes on in smaller requests, and later ones are as small.
TEST_F(RequestFlowTest, TimeOutsTeachSmallerRequests) {
  options_.timeout = absl::Milliseconds(300);
  std::vector<std::string> notes;
  std::mutex mutex;
  options_.note = [&](const std::string& note) {
    const std::lock_guard lock(mutex);
    notes.push_back(note);
  };
  Serve([](const ServerRequest& request) {
    ServerReply reply = OpenAiAnswer(request, {.dim = kDim});
    if (TextsOf(request.body).size() > 8) reply.fault = ServerFault::kStall;
    return reply;
  });
  const auto batch = MakeBatch(32);
  ASSERT_THAT(Start(batch.get()).get(), IsOk());
  EXPECT_THAT(client_->Decode(batch.get()), IsOk());
  EXPECT_LE(scripted_->request_count(), 1 + 2 + 4 + 2);
  const std::lock_guard lock(mutex);
  ASSERT_FALSE(notes.empty());
  EXPECT_THAT(notes[0],
              AllOf(HasSubstr("32 texts within 300ms"), HasSubstr("at most 16"), HasSubstr("a smaller batch")));
}

// The other endpoint is asked for what is missing only.
TEST_F(RequestFlowTest, WhatAFailedSendHasBroughtIsNotBoughtAgain) {
  Serve([](const ServerRequest& request) {
    if (TextsOf(request.body).size() > 4) return ServerReply{.status = 413};
    if (TextsOf(request.body)[0] == "text number 4") {
      return ServerReply{.status = 500, .headers = {{"x-should-retry", "false"}}};
    }
    return OpenAiAnswer(request, {.dim = kDim});
  });
  const auto batch = MakeBatch(8);
  EXPECT_THAT(Start(batch.get()).get(), HasError(absl::StatusCode::kUnavailable, HasSubstr("HTTP 500")));
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  EXPECT_THAT(Start(batch.get()).get(), IsOk());
  ASSERT_EQ(scripted_->request_count(), 1);
  EXPECT_THAT(TextsOf(scripted_->requests()[0].body),
              ElementsAre("text number 4", "text number 5", "text number 6", "text number 7"));
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  for (int i = 0; i < 8; ++i) {
    const auto vector = batch->vectors().subspan(i * kDim, kDim);
    EXPECT_EQ(std::vector<float>(vector.begin(), vector.end()), TextVector(absl::StrCat("text number ", i), kDim));
  }
}

TEST_F(RequestFlowTest, StragglersAreSentTwiceAndTheFirstAnswerWins) {
  options_.hedge = true;
  options_.concurrency = 4;
  std::atomic<int> stalled = 0;
  Serve([&stalled](const ServerRequest& request) {
    ServerReply reply = OpenAiAnswer(request, {.dim = kDim});
    // Its first sending never ends.
    if (absl::StrContains(request.body, "straggler") && stalled++ == 0) reply.fault = ServerFault::kStall;
    return reply;
  });
  for (const absl::Status& status : SendAll(100)) EXPECT_THAT(status, IsOk());
  auto batch = std::make_unique<Batch>(BatchLimits{}, kDim);
  batch->AddRowWithText(0, KeyView(int64_t{0}), 0, "straggler", 3);
  EXPECT_THAT(Start(batch.get()).get(), IsOk());
  EXPECT_THAT(client_->Decode(batch.get()), IsOk());
  const ClientStats stats = client_->stats();
  EXPECT_GE(stats.requests_hedged, 1);
  EXPECT_LE(stats.requests_hedged, 5);
  EXPECT_EQ(stats.requests, 101 + stats.requests_hedged);
  EXPECT_EQ(stats.requests_retried, 0);
}

// ---- Stopping ----

// Two are in the air, the others wait: for a free connection, for quota, for a retry, for a pause.
TEST_F(RequestFlowTest, AfterAStopNothingLeavesAndWhatIsInTheAirIsFinished) {
  options_.concurrency = 2;
  Serve([](const ServerRequest& request) {
    ServerReply reply = OpenAiAnswer(request, {.dim = kDim});
    reply.fault = ServerFault::kStall;
    return reply;
  });
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 6; ++i) {
    batches.push_back(MakeBatch(2));
    answers.push_back(Start(batches.back().get()));
  }
  scripted_->WaitForStalled(2);
  EXPECT_EQ(client_->stats().in_the_air, 2);
  client_->StopSending(absl::CancelledError("told to stop"));
  for (int i = 2; i < 6; ++i) EXPECT_THAT(answers[i].get(), HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
  const auto late = MakeBatch(1);
  EXPECT_THAT(Start(late.get()).get(), HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
  scripted_->ReleaseStalled();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(answers[i].get(), IsOk());
    EXPECT_THAT(client_->Decode(batches[i].get()), IsOk());
  }
  EXPECT_EQ(scripted_->request_count(), 2);
  EXPECT_EQ(client_->stats().texts_dropped, 0);
}

TEST_F(RequestFlowTest, AStopEndsEveryKindOfWait) {
  options_.retry = {.first_backoff = absl::Hours(1), .max_wait = absl::Hours(2)};
  const std::vector<std::pair<const char*, ServerReply>> refusals = {
      {"retry", {.status = 500}},
      {"Retry-After", {.status = 429, .headers = {{"Retry-After", "3000"}}}},
      {"Retry-After of a broken server", {.status = 503, .headers = {{"Retry-After", "3000"}}}}};
  for (const auto& [wait, refusal] : refusals) {
    SCOPED_TRACE(wait);
    Serve([reply = refusal](const ServerRequest&) { return reply; });
    const auto batch = MakeBatch(2);
    auto answer = Start(batch.get());
    while (client_->stats().requests == 0 || client_->stats().in_the_air > 0) std::this_thread::yield();
    client_->StopSending(absl::CancelledError("told to stop"));
    EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
    EXPECT_EQ(scripted_->request_count(), 1);
  }
  options_.limit = {.requests_per_minute = 1};
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  const auto first = MakeBatch(2), second = MakeBatch(2);
  ASSERT_THAT(Start(first.get()).get(), IsOk());
  auto answer = Start(second.get());
  client_->StopSending(absl::CancelledError("told to stop"));
  EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
  EXPECT_EQ(scripted_->request_count(), 1);
}

// A failed answer that comes after the stop is not asked for again, neither at once nor later.
TEST_F(RequestFlowTest, WhatFailsAfterAStopIsNotSentAgain) {
  for (const int status : {413, 429, 500}) {
    SCOPED_TRACE(status);
    Serve([status](const ServerRequest&) { return ServerReply{.status = status, .fault = ServerFault::kStall}; });
    const auto batch = MakeBatch(2);
    auto answer = Start(batch.get());
    scripted_->WaitForStalled(1);
    client_->StopSending(absl::CancelledError("told to stop"));
    scripted_->ReleaseStalled();
    EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
    EXPECT_EQ(scripted_->request_count(), 1);
  }
}

// One half has come, the other one is not asked for any more.
TEST_F(RequestFlowTest, WhatHasComeOfABatchThatIsStoppedCanBeKept) {
  options_.concurrency = 1;
  Serve([](const ServerRequest& request) {
    if (TextsOf(request.body).size() > 4) return ServerReply{.status = 413};
    ServerReply reply = OpenAiAnswer(request, {.dim = kDim});
    reply.fault = ServerFault::kStall;
    return reply;
  });
  const auto batch = MakeBatch(8);
  auto answer = Start(batch.get());
  scripted_->WaitForStalled(1);
  client_->StopSending(absl::CancelledError("told to stop"));
  scripted_->ReleaseStalled();
  EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
  EXPECT_EQ(client_->stats().texts_dropped, 0);
  batch->Fail(absl::CancelledError("told to stop"));
  EXPECT_THAT(client_->Decode(batch.get()), IsOk());
  int64_t kept = 0;
  for (int i = 0; i < 8; ++i) {
    const BatchText& text = std::as_const(*batch).texts()[i];
    kept += batch->HasVector(text) ? 1 : 0;
    const auto vector = std::as_const(*batch).vectors().subspan(i * kDim, kDim);
    const std::vector<float> expected =
        batch->HasVector(text) ? TextVector(std::string(text.text), kDim) : std::vector<float>(kDim);
    EXPECT_EQ(std::vector<float>(vector.begin(), vector.end()), expected) << text.text;
  }
  EXPECT_EQ(kept, 4);
}

TEST_F(RequestFlowTest, WhatIsDroppedInTheAirIsCounted) {
  options_.concurrency = 2;
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 4; ++i) {
    batches.push_back(MakeBatch(3));
    answers.push_back(Start(batches.back().get()));
  }
  scripted_->WaitForStalled(2);
  client_->StopSending(absl::CancelledError("told to stop"));
  client_->Cancel();
  for (auto& answer : answers) EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("told")));
  EXPECT_EQ(client_->stats().texts_dropped, 6);
  EXPECT_EQ(client_->stats().in_the_air, 0);
}

// Each batch is answered once, whenever all is cancelled.
TEST_F(RequestFlowTest, CancellingAtAnyTimeAnswersEverybodyOnce) {
  options_.hedge = true;
  options_.concurrency = 8;
  options_.loop_threads = 2;
  for (int round = 0; round < 25; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    Serve([](const ServerRequest& request) {
      switch ((request.number * 7919) % 7) {
        case 0:
          return ServerReply{.status = 500};
        case 1:
          return ServerReply{.status = request.number < 7 ? 429 : 503, .headers = {{"retry-after-ms", "1"}}};
        case 2:
          return ServerReply{.status = 413};
        case 3:
          return ServerReply{.body = "{}", .fault = ServerFault::kReset, .fault_bytes = 10};
        default:
          return OpenAiAnswer(request, {.dim = kDim});
      }
    });
    std::vector<std::unique_ptr<Batch>> batches;
    std::vector<std::future<absl::Status>> answers;
    for (int i = 0; i < 30; ++i) {
      batches.push_back(MakeBatch(1 + i % 5));
      answers.push_back(Start(batches.back().get()));
    }
    while (client_->stats().requests < round) std::this_thread::yield();
    client_->Cancel();
    for (auto& answer : answers) EXPECT_NE(answer.get().code(), absl::StatusCode::kInternal);  // that is: dropped
  }
}

// ---- What stands between us and the API ----

// Says nothing for a long time while it loads its model: more attempts than a server gets that has never answered.
TEST_F(RequestFlowTest, AServerThatLoadsItsModelIsWaitedFor) {
  std::mutex mutex;
  std::vector<std::string> notes;
  options_.retry = {.max_attempts = 3, .first_backoff = absl::Milliseconds(2), .max_wait = absl::Seconds(2)};
  options_.note = [&](const std::string& note) {
    const std::lock_guard lock(mutex);
    notes.push_back(note);
  };
  Serve([](const ServerRequest& request) {
    if (request.number < 9) return ServerReply{.status = 503, .body = R"({"error":{"message":"Loading model"}})"};
    return OpenAiAnswer(request, {.dim = kDim});
  });
  EXPECT_THAT(SendAll(1), ElementsAre(IsOk()));
  EXPECT_EQ(scripted_->request_count(), 10);
  EXPECT_THAT(notes, ElementsAre(AllOf(HasSubstr("Loading model"), HasSubstr("waiting for it, at most 20s"))));
}

TEST_F(RequestFlowTest, AServerThatIsBrokenFromTheStartIsGivenUpSoon) {
  options_.retry = {.max_attempts = 3, .first_backoff = absl::Milliseconds(2), .max_wait = absl::Seconds(2)};
  Serve([](const ServerRequest&) { return ServerReply{.status = 500}; });
  EXPECT_THAT(SendAll(1), ElementsAre(HasError(absl::StatusCode::kUnavailable, HasSubstr("after 3 attempts"))));
}

TEST_F(RequestFlowTest, ALongerWaitThanIsGrantedIsSaid) {
  std::mutex mutex;
  std::vector<std::string> notes;
  options_.retry = {.max_attempts = 3, .first_backoff = absl::Milliseconds(2), .max_wait = absl::Milliseconds(30)};
  options_.note = [&](const std::string& note) {
    const std::lock_guard lock(mutex);
    notes.push_back(note);
  };
  Serve([](const ServerRequest& request) {
    if (request.number > 0) return OpenAiAnswer(request, {.dim = kDim});
    return ServerReply{
        .status = 429, .headers = {{"Retry-After", "2 hours"}}, .body = R"({"error":{"message":"too fast"}})"};
  });
  EXPECT_THAT(SendAll(1), ElementsAre(IsOk()));
  EXPECT_THAT(notes,
              ElementsAre(AllOf(HasSubstr("too fast"), HasSubstr("asks for a wait of 2h, at most 30ms are granted"))));
}

TEST_F(RequestFlowTest, ARedirectIsNotFollowedAndShown) {
  ScriptedServer other([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = kDim}); });
  options_.api_key = "sk-verysecret-0123456789";
  Serve([&](const ServerRequest& request) {
    const std::string location = request.number == 0 ? "/v1/embeddings/" : other.url() + "/v1/embeddings?key=x";
    return ServerReply{.status = 307, .headers = {{"Location", location}}};
  });
  const auto shows = [](const std::string& target) {
    return HasError(
        absl::StatusCode::kFailedPrecondition,
        AllOf(HasSubstr("HTTP 307"), HasSubstr("redirected to " + target + "; "), HasSubstr("the base of the API")));
  };
  EXPECT_THAT(SendAll(1), ElementsAre(shows(scripted_->url() + "/v1/embeddings/")));
  Connect(absl::StrCat(scripted_->url(), "/v1"));
  EXPECT_THAT(SendAll(1), ElementsAre(shows(other.url() + "/v1/embeddings")));
  EXPECT_EQ(other.request_count(), 0);
}

TEST_F(RequestFlowTest, AWrongAddressIsSaid) {
  Serve([](const ServerRequest&) { return ServerReply{.status = 404, .body = R"({"detail":"Not Found"})"}; });
  Connect(scripted_->url());
  EXPECT_THAT(SendAll(1), ElementsAre(HasError(absl::StatusCode::kFailedPrecondition,
                                               HasSubstr("did you mean " + scripted_->url() + "/v1?"))));
}

TEST_F(RequestFlowTest, AWebPageAtAnAddressWithoutV1EndsTheRunAtOnce) {
  Serve([](const ServerRequest&) { return ServerReply{.body = "\n<!doctype html><title>Web UI</title>"}; });
  Connect(scripted_->url());
  EXPECT_THAT(SendAll(1), ElementsAre(HasError(
                              absl::StatusCode::kFailedPrecondition,
                              AllOf(HasSubstr("a web page"), HasSubstr("did you mean " + scripted_->url() + "/v1?")))));
  EXPECT_EQ(scripted_->request_count(), 1);
}

TEST_F(RequestFlowTest, AKeyThatWasNotSentIsSaid) {
  Serve([](const ServerRequest&) { return ServerReply{.status = 401, .body = R"({"error":"unauthorized"})"}; });
  EXPECT_THAT(SendAll(1), ElementsAre(HasError(absl::StatusCode::kUnauthenticated,
                                               AllOf(HasSubstr("no API key was sent"), HasSubstr("OPENAI_API_KEY")))));
  options_.api_key = "sk-verysecret-0123456789";
  Connect(absl::StrCat(scripted_->url(), "/v1"));
  EXPECT_THAT(SendAll(1), ElementsAre(HasError(absl::StatusCode::kUnauthenticated, HasSubstr("check the API key"))));
}

TEST_F(RequestFlowTest, AProxyThatRefusesIsNamed) {
  options_.proxy = "http://me:secret@127.0.0.1:1";
  options_.retry = {.max_attempts = 1};
  Connect("http://host.example/v1");
  EXPECT_THAT(SendAll(1),
              ElementsAre(HasError(absl::StatusCode::kUnavailable, HasSubstr("through the proxy http://127.0.0.1:1"))));
  scripted_ = std::make_unique<ScriptedServer>([](const ServerRequest&) { return ServerReply{.status = 407}; });
  options_.proxy = scripted_->url();
  Connect("http://host.example/v1");
  EXPECT_THAT(SendAll(1), ElementsAre(HasError(absl::StatusCode::kFailedPrecondition,
                                               AllOf(HasSubstr(" through the proxy " + scripted_->url()),
                                                     HasSubstr("the proxy wants a user name")))));
}

}  // namespace
}  // namespace reembed
