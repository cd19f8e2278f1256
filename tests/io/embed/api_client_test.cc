// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_client.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/openai_replies.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/server_watch.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/text_vector.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kDim = 8;
constexpr char kKey[] = "sk-verysecret-0123456789";

class ApiClientTest : public ::testing::Test {
 protected:
  ApiClientTest() {
    options_.api_key = kKey;
    options_.model = {.name = "fake", .dim = kDim};
    options_.retry = {.max_attempts = 4, .first_backoff = absl::Milliseconds(1), .max_wait = absl::Milliseconds(40)};
    options_.seed = 1;
  }

  // The server's handler, and a client of it with options_.
  void Serve(ScriptedServer::Handler handler) {
    client_.reset();
    server_ = std::make_unique<ScriptedServer>(std::move(handler));
    options_.api_base = absl::StrCat(server_->url(), "/v1");
    auto client = MakeApiClient(options_);
    ASSERT_THAT(client, IsOk());
    client_ = *std::move(client);
  }

  // Answers the first requests from a list and all others well.
  void ServeFirst(std::vector<ServerReply> first) {
    Serve([first = std::move(first)](const ServerRequest& request) {
      return static_cast<size_t>(request.number) < first.size() ? first[request.number] : OpenAiAnswer(request);
    });
  }

  std::unique_ptr<Batch> MakeBatch(const std::vector<std::string>& texts) {
    auto batch = std::make_unique<Batch>(BatchLimits{}, kDim);
    for (size_t i = 0; i < texts.size(); ++i) batch->AddRowWithText(i, KeyView(int64_t(i)), i, texts[i], 5);
    return batch;
  }

  static std::vector<std::string> Texts(int count) {
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) texts.push_back(absl::StrCat("text number ", i));
    return texts;
  }

  std::future<absl::Status> Start(Batch* batch) {
    auto promise = std::make_unique<std::promise<absl::Status>>();
    auto future = promise->get_future();
    client_->Send(batch,
                  Done([promise = std::move(promise)](absl::Status status) { promise->set_value(std::move(status)); }));
    return future;
  }
  absl::Status Send(Batch* batch) { return Start(batch).get(); }

  // As the pipeline does: what is not answered yet is sent again.
  absl::Status SendUntilDecoded(Batch* batch) {
    for (int sendings = 0; sendings < 30; ++sendings) {
      if (absl::Status sent = Send(batch); !sent.ok()) return sent;
      absl::Status decoded = client_->Decode(batch);
      if (!absl::IsDataLoss(decoded)) return decoded;
      batch->NextAttempt();
    }
    return absl::InternalError("it never ends");
  }

  // Every text has its own vector, except the refused ones.
  static void ExpectVectorsInPlace(const Batch& batch) {
    for (size_t i = 0; i < batch.texts().size(); ++i) {
      const absl::Span<const float> row = batch.vectors().subspan(i * kDim, kDim);
      const std::vector<float> expected =
          batch.texts()[i].reject.ok() ? TextVector(batch.texts()[i].text, kDim) : std::vector<float>(kDim, 0);
      EXPECT_EQ(std::vector<float>(row.begin(), row.end()), expected) << i;
    }
  }

  void ExpectEmbeds(const std::vector<std::string>& texts) {
    const auto batch = MakeBatch(texts);
    ASSERT_THAT(Send(batch.get()), IsOk());
    ASSERT_THAT(client_->Decode(batch.get()), IsOk());
    ExpectVectorsInPlace(*batch);
  }

  // A batch of three fails with this.
  void ExpectFails(absl::StatusCode code, absl::string_view message) {
    const auto batch = MakeBatch(Texts(3));
    EXPECT_THAT(Send(batch.get()), HasError(code, HasSubstr(std::string(message))));
  }

  static std::vector<int> Rejected(const Batch& batch) {
    std::vector<int> rejected;
    for (size_t i = 0; i < batch.texts().size(); ++i) {
      if (!batch.texts()[i].reject.ok()) rejected.push_back(static_cast<int>(i));
    }
    return rejected;
  }

  // For the next client: a token costs a dollar.
  SpendCap& Cap(double usd) {
    caps_.emplace_back(SpendOptions{.usd_per_token = 1, .cap_usd = usd});
    options_.spend = &caps_.back();
    return caps_.back();
  }

  std::deque<SpendCap> caps_;  // outlive the client
  ApiOptions options_;
  std::unique_ptr<ScriptedServer> server_;
  std::unique_ptr<EmbeddingClient> client_;
};

// ---- What it sends ----

TEST_F(ApiClientTest, AsksAsTheApiWants) {
  options_.dimensions = kDim;
  ServeFirst({});
  ExpectEmbeds({"a \"quoted\"\n\\ text", "ünï"});
  const ServerRequest request = server_->requests().at(0);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.target, "/v1/embeddings");
  EXPECT_EQ(request.headers.at("authorization"), absl::StrCat("Bearer ", kKey));
  EXPECT_EQ(request.headers.at("content-type"), "application/json");
  EXPECT_EQ(request.body,
            R"({"model":"fake","input":["a \"quoted\"\n\\ text","ünï"],"encoding_format":"base64","dimensions":8})");
}

TEST_F(ApiClientTest, SendsNeitherKeyNorDimensionsUnlessGiven) {
  options_.api_key = "";
  options_.encoding = ReplyFormat::kFloat;
  ServeFirst({});
  ExpectEmbeds({"one"});
  EXPECT_EQ(server_->requests().at(0).headers.count("authorization"), 0u);
  EXPECT_EQ(server_->requests().at(0).body, R"({"model":"fake","input":["one"],"encoding_format":"float"})");
}

TEST_F(ApiClientTest, BatchWithoutTextsNeedsNoRequest) {
  ServeFirst({});
  const auto batch = MakeBatch({});
  EXPECT_THAT(Send(batch.get()), IsOk());
  EXPECT_THAT(client_->Decode(batch.get()), IsOk());
  EXPECT_EQ(server_->request_count(), 0);
}

TEST_F(ApiClientTest, CountsWhatItDid) {
  ServeFirst({{.status = 500}, {.status = 429}});
  ExpectEmbeds(Texts(3));
  const ClientStats stats = client_->stats();
  EXPECT_EQ(stats.requests, 3);
  EXPECT_EQ(stats.requests_retried, 2);
  EXPECT_EQ(stats.http_429, 1);
  EXPECT_EQ(stats.tokens, 9);  // 3 per text, says the server
}

TEST_F(ApiClientTest, EstimatesTokensWithoutUsage) {
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.usage = ""}); });
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(client_->stats().tokens, 15);
}

// Gateways that count nothing say 0 or 1 whatever they are asked. Were that believed, the quota would be given back.
TEST_F(ApiClientTest, FewerTokensThanTextsAreNoUsage) {
  for (const char* const usage : {R"("usage":{"prompt_tokens":0,"total_tokens":0})", R"("usage":{"prompt_tokens":1})",
                                  R"("usage":{"prompt_tokens":2,"total_tokens":2})"}) {
    SCOPED_TRACE(usage);
    Serve([usage](const ServerRequest& request) {
      ServerReply reply = OpenAiAnswer(request, {.usage = ""});
      absl::StrReplaceAll({{R"("x":{"y":[1,"}"]})", usage}}, &reply.body);
      return reply;
    });
    ExpectEmbeds(Texts(3));
    EXPECT_EQ(client_->stats().tokens, 15);
  }
}

// ---- Money ----

TEST_F(ApiClientTest, NothingLeavesThatTheCapDoesNotCover) {
  SpendCap& cap = Cap(30);  // texts are estimated at 5 tokens and charged 3
  ServeFirst({});
  for (int batch = 0; batch < 2; ++batch) ExpectEmbeds(Texts(3));
  EXPECT_EQ(cap.spent_usd(), 18);
  const auto batch = MakeBatch(Texts(3));
  const absl::Status ended = Send(batch.get());
  EXPECT_TRUE(IsSpendCapReached(ended)) << ended;
  EXPECT_EQ(server_->request_count(), 2);
  EXPECT_TRUE(IsSpendCapReached(Send(batch.get()))) << "nothing leaves any more";
  EXPECT_EQ(server_->request_count(), 2);
}

TEST_F(ApiClientTest, RefusalsCostNothingButWhatGotNoAnswerMay) {
  SpendCap& cap = Cap(16);
  ServeFirst({{.status = 429}, {.status = 503}});
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(cap.spent_usd(), 9);
  EXPECT_EQ(server_->request_count(), 3);

  SpendCap& second = Cap(29);
  ServeFirst({{.fault = ServerFault::kReset}});
  const auto batch = MakeBatch(Texts(3));
  EXPECT_TRUE(IsSpendCapReached(Send(batch.get()))) << "the lost answer may be charged, a second sending would pass";
  EXPECT_EQ(server_->request_count(), 1);
  EXPECT_EQ(second.spent_usd(), 15);

  SpendCap& third = Cap(30);
  ServeFirst({{.fault = ServerFault::kReset}});
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(third.spent_usd(), 24);
}

TEST_F(ApiClientTest, AnAnswerThatCameEmptyMayBeChargedAndAPageIsNot) {
  SpendCap& cap = Cap(30);
  ServeFirst({{.status = 200, .body = ""}});
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(cap.spent_usd(), 24) << "15 for nothing, 9 for the vectors";
  EXPECT_EQ(client_->stats().texts_unanswered, 3);

  SpendCap& second = Cap(30);
  ServeFirst({{.status = 200, .body = "<html>Sign in to this network</html>"}});
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(second.spent_usd(), 9);
}

TEST_F(ApiClientTest, AServerThatNobodyReachesCostsNothing) {
  SpendCap& cap = Cap(20);
  options_.api_base = absl::StrCat("http://127.0.0.1:", FreePort(), "/v1");
  auto client = MakeApiClient(options_);
  ASSERT_THAT(client, IsOk());
  client_ = *std::move(client);
  const auto batch = MakeBatch(Texts(3));
  EXPECT_THAT(Send(batch.get()), HasError(absl::StatusCode::kUnavailable, HasSubstr("gave up")));
  EXPECT_EQ(cap.spent_usd(), 0);
}

// A batch that takes several requests is paid for as a whole, or what its first ones cost would be lost.
TEST_F(ApiClientTest, ABatchIsBegunOnlyIfAllItsRequestsAreCovered) {
  SpendCap& cap = Cap(25);
  Serve([](const ServerRequest& request) {
    if (TextsOf(request.body).size() > 2) return OpenAiError(413, "", "", "too large");
    return OpenAiAnswer(request, {.bytes_per_token = 3});
  });
  ExpectEmbeds(Texts(5));
  EXPECT_EQ(cap.spent_usd(), 25) << "five texts of 13 bytes";
  const auto batch = MakeBatch(Texts(5));
  const int before = server_->request_count();
  EXPECT_TRUE(IsSpendCapReached(Send(batch.get())));
  EXPECT_EQ(server_->request_count(), before);
}

TEST_F(ApiClientTest, TheProbeIsPaidForToo) {
  Cap(4);
  ServeFirst({});
  EXPECT_TRUE(IsSpendCapReached(ProbeApi(options_).status()));
  EXPECT_EQ(server_->request_count(), 0);
  SpendCap& enough = Cap(5);
  EXPECT_THAT(ProbeApi(options_), IsOk());
  EXPECT_EQ(enough.spent_usd(), 3);
}

TEST_F(ApiClientTest, WhatIsAnsweredIsNotAskedForAgain) {
  ServeFirst({});
  const auto batch = MakeBatch(Texts(3));
  for (int round = 0; round < 3; ++round) {
    ASSERT_THAT(Send(batch.get()), IsOk());
    ASSERT_THAT(client_->Decode(batch.get()), IsOk());
    ExpectVectorsInPlace(*batch);
    batch->NextAttempt();
  }
  EXPECT_EQ(server_->request_count(), 1);
  batch->texts()[1].answered = false;
  ASSERT_THAT(Send(batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  ExpectVectorsInPlace(*batch);
  EXPECT_EQ(server_->request_count(), 2);
  EXPECT_EQ(client_->stats().requests_retried, 1);
}

// ---- Limits ----

TEST_F(ApiClientTest, KeepsNoMoreInTheAirThanAllowed) {
  options_.concurrency = 2;
  Serve([](const ServerRequest& request) {
    ServerReply reply = OpenAiAnswer(request);
    reply.fault = ServerFault::kStall;
    return reply;
  });
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 10; ++i) {
    batches.push_back(MakeBatch(Texts(2)));
    answers.push_back(Start(batches.back().get()));
  }
  server_->WaitForStalled(2);
  EXPECT_EQ(server_->request_count(), 2);
  server_->ReleaseStalled();
  for (auto& answer : answers) EXPECT_THAT(answer.get(), IsOk());
  EXPECT_EQ(server_->request_count(), 10);
}

TEST_F(ApiClientTest, KeepsToTheRateLimit) {
  options_.limit = {.requests_per_minute = 6000, .burst = absl::Milliseconds(10)};  // one each 10 ms, the first at once
  ServeFirst({});
  const Moment start = MonotonicNow();
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 6; ++i) {
    batches.push_back(MakeBatch(Texts(1)));
    answers.push_back(Start(batches.back().get()));
  }
  for (auto& answer : answers) EXPECT_THAT(answer.get(), IsOk());
  EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(50));
}

// ---- 429 and friends ----

TEST_F(ApiClientTest, WaitsAsRetryAfterSays) {
  for (const auto& header :
       std::vector<std::pair<std::string, std::string>>{{"Retry-After", "0.030"}, {"retry-after-ms", "30"}}) {
    ServeFirst({{.status = 429, .headers = {header}}});
    const Moment start = MonotonicNow();
    ExpectEmbeds(Texts(3));
    EXPECT_GE(MonotonicNow() - start, absl::Milliseconds(30)) << header.first;
    EXPECT_EQ(client_->stats().http_429, 1);
  }
}

TEST_F(ApiClientTest, CapsHugeWaitsAndDates) {
  const std::string date =
      absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", absl::Now() + absl::Hours(2), absl::UTCTimeZone());
  for (const std::string& wait : {std::string("86400"), std::string("1e300"), date}) {
    ServeFirst({{.status = 429, .headers = {{"Retry-After", wait}}}});
    const Moment start = MonotonicNow();
    ExpectEmbeds(Texts(3));
    EXPECT_GE(MonotonicNow() - start, options_.retry.max_wait) << wait;
  }
}

TEST_F(ApiClientTest, BacksOffWhenRetryAfterIsAbsentOrUseless) {
  ServeFirst({{.status = 429}, {.status = 429, .headers = {{"Retry-After", "-1"}}}, {.status = 503}});
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(server_->request_count(), 4);
}

TEST_F(ApiClientTest, OneRefusalPausesEverybody) {
  options_.retry.max_wait = absl::Milliseconds(60);
  std::mutex mutex;
  std::vector<Moment> asked;
  Serve([&](const ServerRequest& request) {
    const std::lock_guard lock(mutex);
    asked.push_back(MonotonicNow());
    if (asked.size() > 1) return OpenAiAnswer(request);
    return ServerReply{.status = 429, .headers = {{"Retry-After", "0.050"}}};
  });
  const auto refused = MakeBatch(Texts(1));
  auto answer = Start(refused.get());
  while (client_->stats().http_429 == 0) std::this_thread::yield();
  ExpectEmbeds(Texts(2));  // another batch
  EXPECT_THAT(answer.get(), IsOk());
  ASSERT_EQ(asked.size(), 3u);
  // The server's own times: a machine that has much to do makes them longer, never shorter.
  EXPECT_GE(asked[1] - asked[0], absl::Milliseconds(45));
  EXPECT_GE(asked[2] - asked[0], absl::Milliseconds(45));
}

TEST_F(ApiClientTest, GivesUpAfterMaxAttemptsAndSaysWhatItDidNotWaitFor) {
  Serve([](const ServerRequest&) {
    ServerReply reply = OpenAiError(429, "rate_limit_exceeded", "requests", "Rate limit reached for fake");
    reply.headers.emplace_back("Retry-After", "3600");
    return reply;
  });
  options_.retry.max_attempts = 2;
  const auto batch = MakeBatch(Texts(3));
  EXPECT_THAT(Send(batch.get()), HasError(absl::StatusCode::kResourceExhausted,
                                          AllOf(HasSubstr("/v1/embeddings: HTTP 429: Rate limit reached for fake"),
                                                HasSubstr("after 4 attempts"), HasSubstr("1h"), HasSubstr("40ms"))));
  EXPECT_EQ(server_->request_count(), 4);
}

TEST_F(ApiClientTest, SlowsDownBeforeTheQuotaRunsDry) {
  std::vector<Moment> asked;  // by one request after the other
  Serve([&asked](const ServerRequest& request) {
    asked.push_back(MonotonicNow());
    ServerReply reply = OpenAiAnswer(request);
    reply.headers.emplace_back("x-ratelimit-limit-requests", "3000");  // one in 20 ms
    reply.headers.emplace_back("x-ratelimit-remaining-requests", "0");
    return reply;
  });
  ExpectEmbeds(Texts(1));
  ExpectEmbeds(Texts(1));
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_GE(asked[1] - asked[0], absl::Milliseconds(15));  // the server's own times, likewise
  EXPECT_EQ(client_->stats().http_429, 0);
}

// ---- Broken servers and lines ----

TEST_F(ApiClientTest, SurvivesABurstOfServerErrors) {
  ServeFirst({{.status = 500}, {.status = 502, .body = "<html>bad gateway</html>"}, {.status = 504}});
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(server_->request_count(), 4);
}

TEST_F(ApiClientTest, SurvivesBrokenConnections) {
  const std::string body(5000, 'x');
  ServeFirst({{.body = body, .fault = ServerFault::kClose},
              {.body = body, .fault = ServerFault::kReset, .fault_bytes = 1000},
              {.body = body, .fault = ServerFault::kTruncate, .fault_bytes = 1000}});
  ExpectEmbeds(Texts(3));
}

TEST_F(ApiClientTest, ServerThatStaysBrokenIsUnavailable) {
  Serve([](const ServerRequest&) { return ServerReply{.status = 500}; });
  ExpectFails(absl::StatusCode::kUnavailable, "HTTP 500");
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kReset}; });
  ExpectFails(absl::StatusCode::kUnavailable, "gave up after 4 attempts");
}

TEST_F(ApiClientTest, StalledServerIsBoundedByTheTimeout) {
  options_.timeout = absl::Milliseconds(20);
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall, .fault_bytes = 20}; });
  ExpectFails(absl::StatusCode::kDeadlineExceeded, "gave up after 4 attempts");
}

TEST_F(ApiClientTest, PagesAndEmptyBodiesCountAsServerErrors) {
  ServeFirst({{.body = "<html>Welcome</html>"}, {.body = ""}, {.body = " \n"}});
  ExpectEmbeds(Texts(3));
  Serve([](const ServerRequest&) { return ServerReply{.body = "<html>Welcome</html>"}; });
  ExpectFails(absl::StatusCode::kUnavailable, "the reply is not JSON");
}

TEST_F(ApiClientTest, ErrorInsideA200IsAnError) {
  ServerReply inside = OpenAiError(200, "", "server_error", "upstream went away");
  ServeFirst({inside});
  ExpectEmbeds(Texts(3));
  EXPECT_EQ(server_->request_count(), 2);
  Serve([](const ServerRequest&) { return OpenAiError(200, "insufficient_quota", "", "You exceeded your quota"); });
  ExpectFails(absl::StatusCode::kFailedPrecondition, "You exceeded your quota");
}

// ---- Stops ----

TEST_F(ApiClientTest, StopsAtOnceWithTheNextStep) {
  struct {
    ServerReply reply;
    absl::StatusCode code;
    const char* message;
  } const cases[] = {
      {OpenAiError(401, "invalid_api_key", "invalid_request_error", "Incorrect API key provided"),
       absl::StatusCode::kUnauthenticated, "HTTP 401: Incorrect API key provided; check the API key"},
      {OpenAiError(403, "", "", "no access to model"), absl::StatusCode::kFailedPrecondition, "no access to model"},
      {OpenAiError(404, "model_not_found", "", "The model does not exist"), absl::StatusCode::kFailedPrecondition,
       "check the model's name"},
      {OpenAiError(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
       absl::StatusCode::kFailedPrecondition, "check the plan"},
      {{.status = 302, .headers = {{"Location", "/elsewhere"}}},
       absl::StatusCode::kFailedPrecondition,
       "check the address"},
  };
  for (const auto& c : cases) {
    Serve([reply = c.reply](const ServerRequest&) { return reply; });
    ExpectFails(c.code, c.message);
    EXPECT_EQ(server_->request_count(), 1) << c.message;
  }
}

TEST_F(ApiClientTest, KeyIsInNoMessage) {
  for (const int status : {400, 401, 403, 404, 413, 422, 429, 500, 503}) {
    Serve([status](const ServerRequest& request) {
      return OpenAiError(status, "", "", absl::StrCat("bad header: ", request.headers.at("authorization")));
    });
    const auto batch = MakeBatch(Texts(2));
    const absl::Status sent = Send(batch.get());
    std::string all = sent.ToString();
    for (const BatchText& text : batch->texts()) absl::StrAppend(&all, text.reject.ToString());
    EXPECT_THAT(all, HasSubstr("bad header")) << status;
    EXPECT_THAT(all, Not(HasSubstr("verysecret"))) << status;
    EXPECT_THAT(all, Not(HasSubstr("0123456789"))) << status;
  }
}

// ---- Bad texts and large batches ----

TEST_F(ApiClientTest, FindsTheOneBadTextAndKeepsTheOthers) {
  for (const int count : {1, 2, 7, 64, 100, 256}) {
    const int bad = count * 2 / 3;
    const std::string bad_text = Texts(count)[bad];
    Serve([bad_text](const ServerRequest& request) {
      const std::vector<std::string> texts = TextsOf(request.body);
      if (std::find(texts.begin(), texts.end(), bad_text) == texts.end()) return OpenAiAnswer(request);
      return OpenAiError(400, "", "invalid_request_error", "Invalid 'input': maximum context length is 8192 tokens.");
    });
    const auto batch = MakeBatch(Texts(count));
    ASSERT_THAT(Send(batch.get()), IsOk());
    ASSERT_THAT(client_->Decode(batch.get()), IsOk());
    EXPECT_THAT(Rejected(*batch), ::testing::ElementsAre(bad));
    EXPECT_THAT(batch->texts()[bad].reject,
                HasError(absl::StatusCode::kInvalidArgument, HasSubstr("HTTP 400: Invalid 'input': maximum context")));
    ExpectVectorsInPlace(*batch);
    EXPECT_LE(server_->request_count() - 1, 2 * std::ceil(std::log2(count))) << count;
  }
}

TEST_F(ApiClientTest, RejectsOnlyBadTextsWhenThereAreSeveral) {
  Serve([](const ServerRequest& request) {
    for (const std::string& text : TextsOf(request.body)) {
      if (absl::EndsWith(text, "7")) return OpenAiError(422, "", "", "no sevens");
    }
    return OpenAiAnswer(request);
  });
  options_.concurrency = 2;
  const auto batch = MakeBatch(Texts(50));
  ASSERT_THAT(Send(batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  EXPECT_THAT(Rejected(*batch), ::testing::ElementsAre(7, 17, 27, 37, 47));
  ExpectVectorsInPlace(*batch);
}

TEST_F(ApiClientTest, RefusedTextsAreNotAskedForAgain) {
  ServeFirst({});
  const auto batch = MakeBatch(Texts(5));
  batch->texts()[2].reject = absl::InvalidArgumentError("refused before");
  ASSERT_THAT(Send(batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  ExpectVectorsInPlace(*batch);
  for (const ServerRequest& request : server_->requests())
    EXPECT_THAT(TextsOf(request.body), Each(Not("text number 2")));
}

TEST_F(ApiClientTest, SplitsWhatIsTooLarge) {
  for (const ServerReply& refusal :
       {ServerReply{.status = 413, .body = "<html>too large</html>"},
        OpenAiError(400, "max_tokens_per_request", "", "Requested 453357 tokens, max 300000 tokens per request"),
        OpenAiError(429, "rate_limit_exceeded", "tokens", "Request too large for fake on tokens per min"),
        OpenAiError(400, "", "invalid_request_error", "'$.input' is invalid. Please check the API reference")}) {
    Serve([refusal](const ServerRequest& request) {
      return TextsOf(request.body).size() > 3 ? refusal : OpenAiAnswer(request);
    });
    ExpectEmbeds(Texts(10));
    EXPECT_EQ(server_->request_count(), 7);  // 10, 5 + 5, 2 + 3 + 2 + 3
  }
}

// What one refusal has taught costs no second one.
TEST_F(ApiClientTest, LaterBatchesAreCutBeforeTheyAreSent) {
  std::atomic<int> refused{0};
  Serve([&refused](const ServerRequest& request) {
    const size_t texts = TextsOf(request.body).size();
    if (texts <= 32) return OpenAiAnswer(request);
    ++refused;
    const std::string message = absl::StrCat("batch size ", texts, " > maximum allowed batch size 32");
    return ServerReply{.status = 422,
                       .body = absl::StrCat("{\"error\":\"", message, "\",\"error_type\":\"Validation\"}")};
  });
  for (int round = 0; round < 3; ++round) {
    ExpectEmbeds(Texts(256));
    EXPECT_EQ(refused, 1);
    EXPECT_EQ(server_->request_count(), 1 + 8 * (round + 1));
  }
  ExpectEmbeds(Texts(100));
  EXPECT_EQ(server_->request_count(), 1 + 8 * 3 + 4);
}

TEST_F(ApiClientTest, TextsRefusedBeforeDoNotMixUpTheParts) {
  ServeFirst({OpenAiError(400, "", "", "at most 3 requests can be in one batch")});
  ExpectEmbeds(Texts(5));
  const auto batch = MakeBatch(Texts(20));
  for (const int refused : {0, 4, 5, 19}) batch->texts()[refused].reject = absl::InvalidArgumentError("before");
  ASSERT_THAT(Send(batch.get()), IsOk());
  ASSERT_THAT(client_->Decode(batch.get()), IsOk());
  ExpectVectorsInPlace(*batch);
  EXPECT_EQ(server_->request_count(), 1 + 2 + 1 + 5);  // 5; 3 + 2; then 3 and 13
}

TEST_F(ApiClientTest, RejectsATextThatIsTooLargeAlone) {
  Serve([](const ServerRequest&) { return ServerReply{.status = 413}; });
  const auto batch = MakeBatch(Texts(2));
  ASSERT_THAT(Send(batch.get()), IsOk());
  EXPECT_THAT(Rejected(*batch), ::testing::ElementsAre(0, 1));
  EXPECT_THAT(client_->Decode(batch.get()), IsOk());
}

TEST_F(ApiClientTest, RejectionsAreShortAndHideTheText) {
  const std::string text = "a confidential sentence about somebody";
  Serve([&text](const ServerRequest& request) {
    if (TextsOf(request.body)[0] != text) return OpenAiAnswer(request);
    return OpenAiError(422, "", "", absl::StrCat("cannot embed: ", text, std::string(5000, 'x')));
  });
  const auto batch = MakeBatch({text});
  ASSERT_THAT(Send(batch.get()), IsOk());
  const std::string message(batch->texts()[0].reject.message());
  EXPECT_THAT(message, AllOf(HasSubstr("cannot embed: "), Not(HasSubstr("confidential"))));
  EXPECT_LT(message.size(), 320u);
}

TEST_F(ApiClientTest, OptionsThatAreRefusedAreNotBlamedOnTexts) {
  Serve([](const ServerRequest&) {
    return OpenAiError(400, "", "invalid_request_error", "This model does not support specifying dimensions.");
  });
  ExpectFails(absl::StatusCode::kFailedPrecondition, "does not support specifying dimensions");
}

// ---- Decoding ----

TEST_F(ApiClientTest, PlacesShuffledVectors) {
  Serve([](const ServerRequest& r) { return OpenAiAnswer(r, {.order = ReplyScript::Order::kShuffled}); });
  ExpectEmbeds(Texts(20));
}

TEST_F(ApiClientTest, TakesNumbersWhereBase64WasAskedFor) {
  Serve([](const ServerRequest& r) { return ServerReply{.body = OpenAiReply(TextsOf(r.body), VectorFormat::kFloat)}; });
  ExpectEmbeds(Texts(20));
}

TEST_F(ApiClientTest, DoubtfulRepliesAreDataLoss) {
  for (const ReplyScript& script :
       {ReplyScript{.missing = 1}, {.extra = 1}, {.same_index_row = 2}, {.missing = 1, .no_index_row = 0}}) {
    Serve([script](const ServerRequest& request) { return OpenAiAnswer(request, script); });
    const auto batch = MakeBatch(Texts(4));
    ASSERT_THAT(Send(batch.get()), IsOk());
    EXPECT_THAT(client_->Decode(batch.get()), HasError(absl::StatusCode::kDataLoss, HasSubstr("/v1/embeddings: ")));
    EXPECT_THAT(Rejected(*batch), ::testing::IsEmpty());
  }
}

// Texts whose vector is not usable are asked for alone, the others are paid for once.
TEST_F(ApiClientTest, UnusableVectorsAreAskedForAloneTwiceAndThenRejectedAlone) {
  const auto texts = Texts(5);
  Serve([&](const ServerRequest& request) {
    const std::vector<std::string> asked = TextsOf(request.body);
    ReplyScript script;
    for (size_t i = 0; i < asked.size(); ++i) {
      if (asked[i] == texts[1]) script.nan_row = static_cast<int>(i);
      if (asked[i] == texts[3]) script.zero_row = static_cast<int>(i);
      if (asked[i] == texts[4] && request.number == 0) script.odd_width_row = static_cast<int>(i);
    }
    return OpenAiAnswer(request, script);
  });
  const auto batch = MakeBatch(texts);
  ASSERT_THAT(SendUntilDecoded(batch.get()), IsOk());
  EXPECT_THAT(batch->texts()[1].reject,
              HasError(absl::StatusCode::kDataLoss, AllOf(HasSubstr("NaN"), HasSubstr("asked 3 times"))));
  EXPECT_THAT(batch->texts()[3].reject, HasError(absl::StatusCode::kDataLoss, HasSubstr("zeros")));
  EXPECT_THAT(Rejected(*batch), ::testing::ElementsAre(1, 3));
  ExpectVectorsInPlace(*batch);
  std::map<std::string, int> asked;
  for (const ServerRequest& request : server_->requests()) {
    for (const std::string& text : TextsOf(request.body)) ++asked[text];
    EXPECT_THAT(TextsOf(request.body).size(), request.number == 0 ? 5u : 1u);
  }
  EXPECT_EQ(asked[texts[0]], 1);
  EXPECT_EQ(asked[texts[1]], 3);
  EXPECT_EQ(asked[texts[3]], 3);
  EXPECT_EQ(asked[texts[4]], 2);
}

// Of a request whose replies stay unreadable the texts are found that make them so.
TEST_F(ApiClientTest, RepliesThatStayUnreadableAreHalvedAndTheirTextSetAside) {
  const auto texts = Texts(8);
  Serve([&](const ServerRequest& request) {
    const bool bad = absl::StrContains(request.body, texts[5]);
    return OpenAiAnswer(request, {.missing = bad ? 1 : 0});
  });
  const auto batch = MakeBatch(texts);
  ASSERT_THAT(SendUntilDecoded(batch.get()), IsOk());
  EXPECT_THAT(Rejected(*batch), ::testing::ElementsAre(5));
  EXPECT_THAT(batch->texts()[5].reject, HasError(absl::StatusCode::kDataLoss, HasSubstr("expected 1 vector, got 0")));
  ExpectVectorsInPlace(*batch);
  EXPECT_LE(server_->request_count(), 2 + 2 * 3 + 2);
}

// Nothing is rejected where no reply is of use, be it that of a text of our own.
TEST_F(ApiClientTest, RepliesOfNoUseToAnybodyEndTheRunSoon) {
  for (const ReplyScript& script : {ReplyScript{.missing = 1}, {.zero_row = 0}}) {
    Serve([script](const ServerRequest& request) { return OpenAiAnswer(request, script); });
    const auto batch = MakeBatch(Texts(1));
    EXPECT_THAT(SendUntilDecoded(batch.get()),
                HasError(absl::StatusCode::kUnavailable, HasSubstr("run the same command again later")));
    EXPECT_THAT(Rejected(*batch), ::testing::IsEmpty());
    EXPECT_EQ(server_->request_count(), 4) << "three, and one of our own";
  }
}

TEST_F(ApiClientTest, AnotherWidthStopsTheRun) {
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = request.number == 0 ? kDim : 12}); });
  ExpectEmbeds(Texts(4));
  const auto batch = MakeBatch(Texts(4));
  ASSERT_THAT(Send(batch.get()), IsOk());
  EXPECT_THAT(client_->Decode(batch.get()),
              HasError(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("8 numbers"), HasSubstr("got 12"))));
}

// ---- Ending ----

TEST_F(ApiClientTest, CancelEndsEverything) {
  options_.concurrency = 2;
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 6; ++i) {  // two in the air, four in the queue
    batches.push_back(MakeBatch(Texts(2)));
    answers.push_back(Start(batches.back().get()));
  }
  server_->WaitForStalled(2);
  client_->Cancel();
  for (auto& answer : answers) EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("")));
  EXPECT_THAT(Send(batches[0].get()), HasError(absl::StatusCode::kCancelled, HasSubstr("")));
  EXPECT_EQ(server_->request_count(), 2);
}

TEST_F(ApiClientTest, CancelEndsLongWaits) {
  options_.retry.max_wait = absl::Hours(1);
  Serve([](const ServerRequest&) { return ServerReply{.status = 429, .headers = {{"Retry-After", "3000"}}}; });
  const auto batch = MakeBatch(Texts(2));
  auto answer = Start(batch.get());
  while (client_->stats().http_429 == 0) std::this_thread::yield();
  client_->Cancel();
  EXPECT_THAT(answer.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("")));
}

TEST_F(ApiClientTest, DestructionAnswersEverything) {
  for (int round = 0; round < 30; ++round) {
    options_.concurrency = 2;
    options_.loop_threads = 1 + round % 2;
    Serve([](const ServerRequest& request) {
      ServerReply bad = OpenAiError(request.number % 3 == 0 ? 500 : 400, "", "", "no");
      return bad;
    });
    std::vector<std::unique_ptr<Batch>> batches;
    std::vector<std::future<absl::Status>> answers;
    for (int i = 0; i < 6; ++i) {
      batches.push_back(MakeBatch(Texts(8)));
      answers.push_back(Start(batches.back().get()));
    }
    client_.reset();
    for (auto& answer : answers) EXPECT_NE(answer.get().code(), absl::StatusCode::kInternal);  // that is: dropped
  }
}

// Random failures of every kind: each batch is answered once, and whoever succeeds has the right vectors.
TEST_F(ApiClientTest, EveryBatchIsAnsweredThroughAnyWeather) {
  options_.concurrency = 4;
  options_.loop_threads = 2;
  options_.retry.max_attempts = 6;
  options_.retry.max_wait = absl::Milliseconds(2);
  Serve([](const ServerRequest& request) {
    switch ((request.number * 7919) % 11) {
      case 0:
        return ServerReply{.status = 500};
      case 1:
        return ServerReply{.status = 429};
      case 2:
        return ServerReply{.body = "{}", .fault = ServerFault::kReset, .fault_bytes = 20};
      case 3:
        return ServerReply{.status = 413};
      case 4:
        return ServerReply{.body = "<html>"};
      default:
        return OpenAiAnswer(request, {.order = ReplyScript::Order::kShuffled});
    }
  });
  std::vector<std::unique_ptr<Batch>> batches;
  std::vector<std::future<absl::Status>> answers;
  for (int i = 0; i < 60; ++i) {
    batches.push_back(MakeBatch(Texts(1 + i)));
    answers.push_back(Start(batches.back().get()));
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].get().ok()) continue;
    ASSERT_THAT(client_->Decode(batches[i].get()), IsOk());
    ExpectVectorsInPlace(*batches[i]);
  }
}

// ---- Options and probe ----

TEST(ApiOptionsTest, BadOptionsAreRefused) {
  const ApiOptions good{.model = {.name = "m", .dim = 8}};
  ASSERT_THAT(MakeApiClient(good), IsOk());
  const auto expect_refused = [&](auto change, const char* why) {
    ApiOptions bad = good;
    change(&bad);
    EXPECT_THAT(MakeApiClient(bad), HasError(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  expect_refused([](ApiOptions* o) { o->api_base = "api.openai.com"; }, "https://");
  expect_refused([](ApiOptions* o) { o->api_key = "key\r\nX-Evil: 1"; }, "line break");
  expect_refused([](ApiOptions* o) { o->model.name = ""; }, "no name");
  expect_refused([](ApiOptions* o) { o->model.dim = 0; }, "at least 1");
  expect_refused([](ApiOptions* o) { o->dimensions = 9; }, "9");
  expect_refused([](ApiOptions* o) { o->concurrency = 0; }, "at least 1");
  expect_refused([](ApiOptions* o) { o->timeout = absl::ZeroDuration(); }, "above zero");
}

TEST_F(ApiClientTest, ProbeTellsTheWidth) {
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.dim = 1536}); });
  options_.model.dim = 0;
  EXPECT_EQ(ProbeApi(options_).value().width, 1536);
  EXPECT_EQ(server_->request_count(), 1);
  EXPECT_EQ(TextsOf(server_->requests()[0].body).size(), 1u);
}

TEST_F(ApiClientTest, ProbeFailsInWordsThatHelp) {
  Serve([](const ServerRequest&) { return OpenAiError(401, "invalid_api_key", "", "Incorrect API key"); });
  EXPECT_THAT(ProbeApi(options_), HasError(absl::StatusCode::kUnauthenticated, HasSubstr("check the API key")));
  Serve([](const ServerRequest&) { return OpenAiError(400, "", "", "no idea what you want"); });
  EXPECT_THAT(ProbeApi(options_), HasError(absl::StatusCode::kFailedPrecondition,
                                           AllOf(HasSubstr("no idea what you want"), HasSubstr("check the model"))));
  Serve([](const ServerRequest&) { return ServerReply{.body = "{\"data\":[]}"}; });
  EXPECT_THAT(ProbeApi(options_),
              HasError(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("/v1/embeddings: expected 1 vec"), HasSubstr("asked 3 times"))));
}

// ---- Tokens ----

TEST_F(ApiClientTest, WhatTheApiChargesIsLearnt) {
  TokenEstimator estimator(1.0);
  options_.estimator = &estimator;
  Serve([](const ServerRequest& request) { return OpenAiAnswer(request, {.bytes_per_token = 2}); });
  for (int i = 0; i < 3; ++i) ExpectEmbeds(Texts(50));
  EXPECT_NEAR(estimator.tokens_per_byte(), 0.5, 0.07);  // each text has a token more
}

// The parts of one long text are in one batch, which may then be more than a request may have.
TEST_F(ApiClientTest, NoRequestHasMoreTokensThanTheLimit) {
  ServeFirst({});
  Batch batch({.max_tokens = 12}, kDim);
  const std::vector<std::string> texts = Texts(7);
  for (size_t i = 0; i < texts.size(); ++i) batch.AddRowWithText(i, int64_t(i), i, texts[i], i == 3 ? 20 : 5);
  ASSERT_THAT(Send(&batch), IsOk());
  ASSERT_THAT(client_->Decode(&batch), IsOk());
  ExpectVectorsInPlace(batch);
  std::vector<size_t> sizes;
  for (const ServerRequest& request : server_->requests()) sizes.push_back(TextsOf(request.body).size());
  EXPECT_THAT(sizes, ::testing::UnorderedElementsAre(2, 1, 1, 2, 1));
}

}  // namespace
}  // namespace reembed
