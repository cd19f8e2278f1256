// SPDX-License-Identifier: Apache-2.0
// An API that refuses: for now, for good, or for the sake of one text.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server.h"
#include "tests/end_to_end/fault_fixture.h"
#include "tests/fakes/agentloop.h"
#include "tests/fakes/status_matchers.h"
#include "tests/places.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;

using RefusalTest = FaultTest;

std::string HttpDate(absl::Time time) {
  return absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", time, absl::UTCTimeZone());
}

// ---- Wait, and try again ----

TEST_F(RefusalTest, WaitsAsLongAsItIsToldAndSendsTheSameAgain) {
  struct {
    const char* name;
    std::pair<std::string, std::string> header;
    const char* message;
    absl::Duration least;
  } const cases[] = {
      {"seconds", {"Retry-After", "0.2"}, "slow down", absl::Milliseconds(200)},
      {"milliseconds", {"retry-after-ms", "200"}, "slow down", absl::Milliseconds(200)},
      {"message", {"x-none", ""}, "Please try again in 200ms.", absl::Milliseconds(200)},
      {"date, capped", {"Retry-After", HttpDate(absl::Now() + absl::Hours(3))}, "slow down", absl::Milliseconds(300)},
      {"huge, capped", {"Retry-After", "99999999"}, "slow down", absl::Milliseconds(300)},
      {"beyond all numbers", {"Retry-After", "1e999"}, "slow down", absl::ZeroDuration()},
      {"negative", {"Retry-After", "-5"}, "slow down", absl::ZeroDuration()},
      {"zero", {"Retry-After", "0"}, "slow down", absl::ZeroDuration()},
      {"a word", {"Retry-After", "soon"}, "slow down", absl::ZeroDuration()},
      {"absent", {"x-none", ""}, "slow down", absl::ZeroDuration()},
  };
  max_wait_ = "0.3";
  concurrency_ = 1;
  MakeNotes(8);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    std::filesystem::remove_all(job());
    Change(db(), "UPDATE notes SET embedding = NULL");
    ServerReply refusal = OpenAiError(429, "rate_limit_exceeded", "requests", c.message);
    refusal.headers.push_back(c.header);
    ServeFirst({refusal});
    const ProcessResult run = Run();
    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_EQ(Summary(run, "http_429"), "1");
    ExpectComplete();
    ASSERT_EQ(requests(), 3);
    EXPECT_GE(arrivals()[1] - arrivals()[0], c.least);
    // Which of the two batches is sent next is open: the first rows leave first, and the second batch may have been the
    // first to arrive.
    const auto texts = asked();
    EXPECT_TRUE(texts[1] == texts[0] || texts[2] == texts[0])
        << "a refusal for want of quota does not shrink the batch; asked for were " << texts[0].size() << ", "
        << texts[1].size() << " and " << texts[2].size() << " texts";
  }
}

// Two commands share one account: neither knows of the other, and the quota is one.
TEST_F(RefusalTest, TwoCommandsShareOneQuota) {
  const auto server =
      EmbeddingServer::Start({.dim = 96, .limits = {.requests_per_minute = 3000, .window = absl::Milliseconds(200)}});
  ASSERT_THAT(server, IsOk());
  std::vector<std::unique_ptr<Process>> runs;
  for (const char* name : {"one", "two"}) {
    const std::string db = folder_ / absl::StrCat(name, ".db");
    ASSERT_EQ(RunProcess({REEMBED_BINARY, "systems", "agentloop", "--make-sample", db, "--rows", "400"}).exit_code, 0);
    runs.push_back(
        std::make_unique<Process>(std::vector<std::string>{REEMBED_BINARY,  "run",
                                                           "--system",      "agentloop",
                                                           "--db",          db,
                                                           "--api-base",    (*server)->base_url(),
                                                           "--model",       "reembed-lexical-1",
                                                           "--dimensions",  "96",
                                                           "--batch-size",  "4",
                                                           "--concurrency", "4",
                                                           "--max-wait",    "1",
                                                           "--job",         folder_ / absl::StrCat(name, ".job"),
                                                           "--json"}));
  }
  for (const char* name : {"one", "two"}) {
    const ProcessResult run = runs[name == std::string("two")]->Wait();
    EXPECT_THAT(run.exit_code, AnyOf(0, 3)) << run.err;
    const std::string db = folder_ / absl::StrCat(name, ".db");
    const auto stored = StoredEmbeddings(db);
    const auto expected = EmbeddableMessages(db);
    EXPECT_EQ(stored.size(), expected.size());
    for (const auto& [id, bytes] : stored) ASSERT_EQ(bytes, ExpectedEmbedding(expected.at(id), 96)) << id;
  }
  EXPECT_GT((*server)->counts().refused, 0) << "this test needs a quota that is too small for two";
}

// ---- A server in trouble ----

// Of 200 requests, with sixteen at a time and an outage that begins in the midst of them.
TEST_F(RefusalTest, AnOutageCostsNoMoreThanATenthOnTop) {
  batch_size_ = 2;
  concurrency_ = 16;
  max_wait_ = "5";
  MakeNotes(400);
  constexpr int kStatus[] = {500, 502, 503, 504};
  std::mutex mutex;
  Moment outage_ends = absl::InfiniteDuration();
  Serve([&](int number, const ServerRequest& request) {
    const std::lock_guard lock(mutex);
    if (number == 20) outage_ends = MonotonicNow() + absl::Seconds(1.5);
    if (number < 20 || MonotonicNow() > outage_ends) return Sell(request);
    return ServerReply{.status = kStatus[number % 4], .body = "<html>Service Unavailable</html>"};
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
  EXPECT_LE(requests(), 200 + 20 + 10) << "a tenth of 200, and ten to begin with";
}

// ---- Stop ----

struct Stop {
  const char* name;
  ServerReply reply;
  const char* next_step;
};

class StopTest : public FaultTest, public ::testing::WithParamInterface<Stop> {};

TEST_P(StopTest, EndsAtOnceKeepsWhatIsPaidAndGoesOnWithAGoodKey) {
  MakeNotes(80);
  Serve([this](int number, const ServerRequest& request) { return number < 5 ? Sell(request) : GetParam().reply; });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_EQ(Summary(run, "exit_code"), "6");
  EXPECT_THAT(run.err, HasSubstr(GetParam().next_step));
  EXPECT_LE(requests() - 5, concurrency_) << "no request leaves after the first such answer has come";
  EXPECT_EQ(ExpectNothingForeign(), 20) << "all that was paid for, and nothing else";
  EXPECT_EQ(Ledger("SELECT count(*) FROM rejects"), 0) << "no row is to blame";
  const auto* const another = "sk-very-secret-another";
  key_ = another;
  ServeFirst({});
  const ProcessResult rest = Run();
  EXPECT_EQ(rest.exit_code, 0) << rest.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
}

INSTANTIATE_TEST_SUITE_P(
    Refusals, StopTest,
    ::testing::Values(
        Stop{"Key", OpenAiError(401, "invalid_api_key", "invalid_request_error", "Incorrect API key provided"),
             "check the API key"},
        Stop{"Forbidden", OpenAiError(403, "", "", "no access"), "check what the API key may use"},
        Stop{"Quota", OpenAiError(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
             "check the plan"},
        Stop{"Billing", {.status = 402, .body = R"({"message":"billing limit reached"})"}, "check the plan"},
        Stop{"Balance",
             {.status = 403, .body = R"({"detail":{"code":"AUTHZ_INSUFFICIENT_BALANCE","message":"no balance"}})"},
             "check the plan"},
        Stop{"ModelGone", OpenAiError(404, "model_not_found", "", "The model does not exist"),
             "check the model's name"},
        Stop{"ModelRetired", OpenAiError(410, "", "", "The model has been retired"), "check the model's name"},
        Stop{"GeminiKey",
             {.status = 400,
              .body = R"([{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":)"
                      R"([{"reason":"API_KEY_INVALID"}]}}])"},
             "check the API key"}),
    [](const auto& info) { return info.param.name; });

TEST_F(RefusalTest, AKeyThatIsRepeatedByTheServerIsNotShown) {
  MakeNotes(4);
  for (const int status : {400, 401, 403, 429, 500}) {
    Serve([status](int, const ServerRequest& request) {
      return OpenAiError(status, "", "", absl::StrCat("bad header: ", request.headers.at("authorization")));
    });
    const ProcessResult run = Run();
    EXPECT_NE(run.exit_code, 0);  // and TearDown looks for the key
  }
}

// ---- One bad text ----

struct BadText {
  const char* name;
  ServerReply reply;
  const char* reason;
};

class BadTextTest : public FaultTest, public ::testing::WithParamInterface<BadText> {};

TEST_P(BadTextTest, IsFoundAndRejectedAndTheOthersAreStored) {
  batch_size_ = 64;
  MakeNotes(64);
  const auto is_bad = [this](const ServerRequest& request) { return absl::StrContains(request.body, NoteText(37)); };
  Serve([&](int, const ServerRequest& request) { return is_bad(request) ? GetParam().reply : Sell(request); });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 3) << run.err;
  ExpectComplete({37});
  ExpectSoldAtMost(1);
  EXPECT_THAT(RejectReason(37), HasSubstr(GetParam().reason));
  EXPECT_EQ(Ledger("SELECT count(*) FROM rejects"), 1);
  EXPECT_LE(requests() - 1, 2 * std::ceil(std::log2(64))) << "beyond the one of a run without a bad text";
  const ProcessResult again = Run();
  EXPECT_EQ(again.exit_code, 3);
  EXPECT_EQ(Summary(again, "requests_retried"), "0");
  ExpectSoldAtMost(1);
}

INSTANTIATE_TEST_SUITE_P(
    Refusals, BadTextTest,
    ::testing::Values(
        BadText{
            "OpenAi400",
            OpenAiError(400, "", "invalid_request_error", "Invalid 'input': maximum context length is 8192 tokens."),
            "HTTP 400: Invalid 'input': maximum context length"},
        BadText{"OpenAi400Dollar", OpenAiError(400, "", "invalid_request_error", "'$.input' is invalid."),
                "HTTP 400: '$.input' is invalid"},
        BadText{"Tei422",
                {.status = 422, .body = R"({"error":"tokenizer failed","error_type":"Tokenizer"})"},
                "HTTP 422: tokenizer failed"},
        BadText{"Edge413", {.status = 413, .body = "<html>Request Entity Too Large</html>"}, "HTTP 413"},
        BadText{"LlamaCpp500",
                {.status = 500,
                 .body = R"({"error":{"code":500,"message":"input is too large to process. increase the physical)"
                         R"( batch size","type":"server_error"}})"},
                "HTTP 500: input is too large to process"},
        BadText{"Ollama400",
                {.status = 400, .body = R"({"error":"the input length exceeds the context length"})"},
                "HTTP 400: the input length exceeds"}),
    [](const auto& info) { return info.param.name; });

// A limit that nobody told us costs one refusal for each request under way, and no more in the whole run.
TEST_F(RefusalTest, ALimitIsLearnedOnce) {
  batch_size_ = 32;
  MakeNotes(640);
  std::atomic<int> refused{0};
  Serve([&](int, const ServerRequest& request) {
    const size_t texts = TextsOf(request.body).size();
    if (texts <= 8) return Sell(request);
    ++refused;
    return ServerReply{.status = 422,
                       .body = absl::StrCat("{\"error\":\"batch size ", texts, " > maximum allowed batch size 8\"}")};
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
  EXPECT_LE(refused, concurrency_ + std::max(4, 3 * concurrency_))
      << "20 batches, of which those that go round (BatchesInFlight) were made before the first refusal came";
}

// Ollama: a text whose vector has a NaN breaks every request it is in.
TEST_F(RefusalTest, ATextThatBreaksTheServerIsRejectedWhileTheOthersAreEmbedded) {
  batch_size_ = 16;
  max_wait_ = "1";
  MakeNotes(96);
  const auto breaks = [this](const ServerRequest& request) {
    return absl::StrContains(request.body, NoteText(30) + "\"") || absl::StrContains(request.body, NoteText(90) + "\"");
  };
  Serve([&](int, const ServerRequest& request) {
    if (!breaks(request)) return Sell(request);
    return ServerReply{.status = 500, .body = R"({"error":"failed to encode response: json: unsupported value: NaN"})"};
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 3) << run.err;
  ExpectComplete({30, 90});
  ExpectSoldAtMost(1);
  EXPECT_THAT(RejectReason(30), HasSubstr("HTTP 500: failed to encode response: json: unsupported value: NaN"));
  EXPECT_EQ(Ledger("SELECT count(*) FROM rejects"), 2);
}

// A 400 in words that nobody knows, for all from some moment on: nobody is rejected, and the run says so.
TEST_F(RefusalTest, ARefusalThatIsNotAboutTheTextRejectsNobody) {
  MakeNotes(200);
  all_faulty_ = true;
  Serve([this](int number, const ServerRequest& request) {
    return number < 10 ? Sell(request) : OpenAiError(400, "", "", "your tenant has been put to sleep");
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 6) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr("put to sleep"), HasSubstr("the texts are not the cause")));
  EXPECT_EQ(Ledger("SELECT count(*) FROM rejects"), 0);
  EXPECT_EQ(ExpectNothingForeign(), 40);
  EXPECT_LE(requests(), 10 + 20);
  all_faulty_ = false;
  ServeFirst({});
  EXPECT_EQ(Run().exit_code, 0);
  ExpectComplete();
  ExpectSoldAtMost(1);
}

// DashScope's words for its limit, which are nobody else's.
TEST_F(RefusalTest, ALimitOfTextsInUnheardOfWordsIsLearnedOnce) {
  batch_size_ = 64;
  MakeNotes(640);
  std::atomic<int> refused{0};
  Serve([&](int, const ServerRequest& request) {
    if (TextsOf(request.body).size() <= 10) return Sell(request);
    ++refused;
    return OpenAiError(
        400, "InvalidParameter", "InvalidParameter",
        "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be "
        "larger than 10.: input.contents");
  });
  const ProcessResult run = Run();
  EXPECT_EQ(run.exit_code, 0) << run.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
  EXPECT_LE(refused, concurrency_ + 12) << "10 batches, of which those were made before the first refusal came";
}

// ---- What has come of a batch is paid for, however the run ends ----

struct EndOfRun {
  const char* name;
  ServerReply reply;
  int exit_code;
};

class PaidHalfTest : public FaultTest, public ::testing::WithParamInterface<EndOfRun> {};

TEST_P(PaidHalfTest, IsKept) {
  batch_size_ = 8;
  concurrency_ = 1;
  MakeNotes(8);
  Serve([&](int number, const ServerRequest& request) {
    if (TextsOf(request.body).size() > 4) return OpenAiError(413, "", "", "too large");
    return number < 2 ? Sell(request) : GetParam().reply;
  });
  const ProcessResult ended = Run();
  EXPECT_EQ(ended.exit_code, GetParam().exit_code) << ended.err;
  EXPECT_EQ(Ledger("SELECT sum(slot_end - slot_begin) FROM kept"), 4) << ended.err;
  EXPECT_EQ(Summary(ended, "texts_dropped"), "0");
  ServeFirst({});
  const ProcessResult again = Run();
  EXPECT_EQ(again.exit_code, 0) << again.err;
  ExpectComplete();
  ExpectSoldAtMost(1);
}

INSTANTIATE_TEST_SUITE_P(
    Ends, PaidHalfTest,
    ::testing::Values(EndOfRun{"wrong_key", OpenAiError(401, "invalid_api_key", "", "no such key"), 6},
                      EndOfRun{"no_money", OpenAiError(429, "insufficient_quota", "insufficient_quota", "no money"), 6},
                      EndOfRun{"broken", {.status = 500}, 5}),
    [](const testing::TestParamInfo<EndOfRun>& info) { return info.param.name; });

}  // namespace
}  // namespace reembed
