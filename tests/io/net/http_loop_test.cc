// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_loop.h"

#include <cstdlib>
#include <future>
#include <latch>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class HttpLoopTest : public ::testing::Test {
 protected:
  HttpLoopTest() { MakeLoop({}); }

  void MakeLoop(const HttpLoopOptions& options) {
    auto loop = HttpLoop::Make(options);
    ASSERT_THAT(loop, IsOk());
    loop_ = *std::move(loop);
  }

  void Serve(ScriptedServer::Handler handler) { server_ = std::make_unique<ScriptedServer>(std::move(handler)); }

  HttpRequest Request(absl::string_view body = "hello") const {
    return {.url = absl::StrCat(server_->url(), "/path"), .body = body};
  }

  // Starts it; the future has the answer.
  std::future<absl::StatusOr<HttpReply>> Start(HttpRequest request) {
    auto promise = std::make_unique<std::promise<absl::StatusOr<HttpReply>>>();
    auto future = promise->get_future();
    loop_->Start(std::move(request), [promise = std::move(promise)](absl::StatusOr<HttpReply> reply) {
      promise->set_value(std::move(reply));  // a second call would throw
    });
    return future;
  }

  std::unique_ptr<ScriptedServer> server_;
  std::unique_ptr<HttpLoop> loop_;
};

TEST_F(HttpLoopTest, DeliversRequestAndReply) {
  Serve([](const ServerRequest& request) {
    return ServerReply{.status = 201, .headers = {{"X-Thing", " some value "}}, .body = "got " + request.body};
  });
  HttpRequest request = Request("hello");
  request.headers = {"Content-Type: application/json", "X-Mine: 1"};
  const auto reply = loop_->Call(std::move(request));
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->status, 201);
  EXPECT_EQ(reply->body, "got hello");
  EXPECT_EQ(reply->Header("x-thing"), "some value");
  EXPECT_EQ(reply->Header("x-other"), "");
  const ServerRequest got = server_->requests().at(0);
  EXPECT_EQ(got.method, "POST");
  EXPECT_EQ(got.target, "/path");
  EXPECT_EQ(got.headers.at("content-type"), "application/json");
  EXPECT_EQ(got.headers.at("x-mine"), "1");
  EXPECT_EQ(got.headers.count("expect"), 0u);
}

// Some gateways compress what nobody asked to be compressed.
TEST_F(HttpLoopTest, UndoesCompressionThatNobodyAskedFor) {
  const std::string plain = R"({"hello":"world, world, world"})";
  const std::string gzip(
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\xca\x48\xcd\xc9\xc9\x57\xb2\x52\x2a\xcf\x2f\xca"
      "\x49\xd1\x51\x40\xa6\x94\x6a\x01\xe8\x9d\x81\x67\x1f\x00\x00\x00",
      40);
  const std::string zlib(
      "\x78\x9c\xab\x56\xca\x48\xcd\xc9\xc9\x57\xb2\x52\x2a\xcf\x2f\xca\x49\xd1\x51\x40\xa6\x94\x6a\x01"
      "\xac\x61\x0a\xdf",
      28);
  for (const auto& [coding, body] :
       {std::pair<std::string, std::string>{"gzip", gzip}, {"deflate", zlib}, {"identity", plain}}) {
    Serve([&coding = coding, &body = body](const ServerRequest& request) {
      EXPECT_EQ(request.headers.count("accept-encoding"), 0u);
      return ServerReply{.headers = {{"Content-Encoding", coding}}, .body = body};
    });
    const auto reply = loop_->Call(Request());
    ASSERT_THAT(reply, IsOk()) << coding;
    EXPECT_EQ(reply->body, plain) << coding;
  }
}

TEST_F(HttpLoopTest, SpeaksEveryMethod) {
  Serve([](const ServerRequest& request) { return ServerReply{.body = request.method + "|" + request.body}; });
  for (const auto& [method, body] :
       {std::pair("GET", ""), {"PUT", "x"}, {"DELETE", ""}, {"PATCH", "y"}, {"POST", ""}}) {
    HttpRequest request = Request(body);
    request.method = method;
    const auto reply = loop_->Call(std::move(request));
    ASSERT_THAT(reply, IsOk()) << method;
    EXPECT_EQ(reply->body, absl::StrCat(method, "|", body));
  }
}

TEST_F(HttpLoopTest, CarriesLargeBodiesBothWays) {
  Serve([](const ServerRequest& request) { return ServerReply{.body = request.body}; });
  const std::string large(5'000'000, 'x');
  const auto reply = loop_->Call(Request(large));
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->body, large);
}

// libcurl repeats a request by itself when a connection that was kept alive ends without an answer, POSTs included. The
// server may have worked on it, and charged for it: whether it is sent again is for others to decide, and to count.
TEST_F(HttpLoopTest, ARequestIsSentOnceEvenIfAKeptConnectionDies) {
  for (const ServerFault fault : {ServerFault::kClose, ServerFault::kReset}) {
    Serve([fault](const ServerRequest& request) {
      return ServerReply{.body = "fine", .fault = request.number == 1 ? fault : ServerFault::kNone};
    });
    ASSERT_THAT(loop_->Call(Request()), IsOk());
    EXPECT_THAT(loop_->Call(Request()), HasError(absl::StatusCode::kUnavailable, HasSubstr("connection")));
    EXPECT_EQ(server_->request_count(), 2);
    ASSERT_THAT(loop_->Call(Request()), IsOk());
    EXPECT_EQ(server_->request_count(), 3);
  }
}

// One that the server closed while nobody used it is not a failure: that is noticed before anything is sent.
TEST_F(HttpLoopTest, AConnectionThatDiedIdleIsReplaced) {
  Serve([](const ServerRequest&) { return ServerReply{.body = "fine", .fault = ServerFault::kCloseAfter}; });
  for (int i = 1; i <= 20; ++i) {
    EXPECT_THAT(loop_->Call(Request()), IsOk());
    server_->WaitForEnded(i);
  }
  EXPECT_EQ(server_->request_count(), 20);
}

TEST_F(HttpLoopTest, KeepsConnectionsAlive) {
  Serve([](const ServerRequest&) { return ServerReply{.body = "x"}; });
  for (int i = 0; i < 20; ++i) ASSERT_THAT(loop_->Call(Request()), IsOk());
  EXPECT_EQ(server_->connection_count(), 1);
}

TEST_F(HttpLoopTest, ReusesTheReplyBufferWithRoomForParsers) {
  Serve([](const ServerRequest&) { return ServerReply{.body = std::string(100'000, 'x')}; });
  HttpRequest request = Request();
  request.reply_buffer.reserve(200'000);
  const char* const memory = request.reply_buffer.data();
  const auto reply = loop_->Call(std::move(request));
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->body.data(), memory);
  const auto fresh = loop_->Call(Request());
  ASSERT_THAT(fresh, IsOk());
  EXPECT_GE(fresh->body.capacity(), fresh->body.size() + kReplySlackBytes);
}

TEST_F(HttpLoopTest, ManyRequestsAtOnceOnSeveralThreads) {
  MakeLoop({.threads = 2});
  Serve([](const ServerRequest& request) { return ServerReply{.body = request.body}; });
  std::vector<std::string> bodies;
  for (int i = 0; i < 100; ++i) bodies.push_back(absl::StrCat("body ", i));
  std::vector<std::future<absl::StatusOr<HttpReply>>> answers;
  for (const std::string& body : bodies) answers.push_back(Start(Request(body)));
  for (size_t i = 0; i < answers.size(); ++i) {
    const auto reply = answers[i].get();
    ASSERT_THAT(reply, IsOk());
    EXPECT_EQ(reply->body, bodies[i]);
  }
}

TEST_F(HttpLoopTest, CallbackMayStartTheNextRequest) {
  Serve([](const ServerRequest&) { return ServerReply{.body = "x"}; });
  std::promise<absl::StatusOr<HttpReply>> second;
  loop_->Start(Request(), [&](absl::StatusOr<HttpReply>) {
    loop_->Start(Request(), [&](absl::StatusOr<HttpReply> reply) { second.set_value(std::move(reply)); });
  });
  EXPECT_THAT(second.get_future().get(), IsOk());
}

TEST(HttpLoopTimerTest, CallsOnceAtTheEarliestMomentAsked) {
  std::promise<Moment> first, second;
  std::atomic<int> calls = 0;
  auto loop = HttpLoop::Make({}, [&] { (calls++ == 0 ? first : second).set_value(MonotonicNow()); });
  ASSERT_THAT(loop, IsOk());
  const Moment now = MonotonicNow();
  (*loop)->SetTimer(now + absl::Hours(1));
  (*loop)->SetTimer(now + absl::Milliseconds(20));
  (*loop)->SetTimer(now + absl::Hours(2));
  EXPECT_GE(first.get_future().get(), now + absl::Milliseconds(20));
  EXPECT_EQ(calls, 1);
  (*loop)->SetTimer(now);
  second.get_future().get();
  EXPECT_EQ(calls, 2);
}

TEST_F(HttpLoopTest, AbandonsOneRequestAndNoOther) {
  MakeLoop({.threads = 2});
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  std::vector<HttpLoop::Ticket> tickets;
  std::vector<std::promise<absl::StatusOr<HttpReply>>> answers(4);
  for (auto& answer : answers) {
    tickets.push_back(
        loop_->Start(Request(), [&answer](absl::StatusOr<HttpReply> reply) { answer.set_value(std::move(reply)); }));
  }
  server_->WaitForStalled(4);
  loop_->Abandon(tickets[1]);
  EXPECT_THAT(answers[1].get_future().get(), HasError(absl::StatusCode::kCancelled, HasSubstr("abandoned")));
  loop_->Abandon(tickets[1]);  // answered already
  server_->ReleaseStalled();
  for (const int i : {0, 2, 3}) EXPECT_THAT(answers[i].get_future().get(), IsOk()) << i;
}

TEST_F(HttpLoopTest, NobodyThereIsUnavailable) {
  std::string url;
  {
    const ScriptedServer gone([](const ServerRequest&) { return ServerReply{}; });
    url = gone.url();
  }
  EXPECT_THAT(loop_->Call({.url = url}), HasError(absl::StatusCode::kUnavailable, HasSubstr(url)));
}

TEST_F(HttpLoopTest, BrokenConnectionsAreUnavailable) {
  for (const ServerFault fault : {ServerFault::kClose, ServerFault::kReset, ServerFault::kTruncate}) {
    Serve([fault](const ServerRequest&) {
      return ServerReply{.body = std::string(1000, 'x'), .fault = fault, .fault_bytes = 100};
    });
    EXPECT_THAT(loop_->Call(Request()), HasError(absl::StatusCode::kUnavailable, HasSubstr(server_->url())))
        << static_cast<int>(fault);
  }
}

TEST_F(HttpLoopTest, StalledReplyEndsAtTheTotalTimeout) {
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall, .fault_bytes = 10}; });
  HttpRequest request = Request();
  request.total_timeout = absl::Milliseconds(30);
  EXPECT_THAT(loop_->Call(std::move(request)), HasError(absl::StatusCode::kDeadlineExceeded, HasSubstr("/path")));
}

TEST_F(HttpLoopTest, SilenceEndsAtTheStallTimeout) {
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  HttpRequest request = Request();
  request.total_timeout = absl::InfiniteDuration();
  request.stall_timeout = absl::Milliseconds(30);
  EXPECT_THAT(loop_->Call(std::move(request)), HasError(absl::StatusCode::kDeadlineExceeded, HasSubstr("no byte")));
}

TEST_F(HttpLoopTest, TooLongRepliesAreDataLoss) {
  Serve([](const ServerRequest&) { return ServerReply{.body = std::string(1001, 'x')}; });
  HttpRequest request = Request();
  request.max_reply_bytes = 1000;
  EXPECT_THAT(loop_->Call(std::move(request)), HasError(absl::StatusCode::kDataLoss, HasSubstr("at most 1000 bytes")));
  request = Request();
  request.max_reply_bytes = 1001;
  EXPECT_THAT(loop_->Call(std::move(request)), IsOk());
}

TEST_F(HttpLoopTest, EndlessHeadersAreDataLoss) {
  Serve([](const ServerRequest&) {
    ServerReply reply;
    for (int i = 0; i < 2000; ++i) reply.headers.emplace_back("X-More", std::string(60, 'x'));
    return reply;
  });
  EXPECT_THAT(loop_->Call(Request()), HasError(absl::StatusCode::kDataLoss, HasSubstr("longer")));
}

TEST_F(HttpLoopTest, BadAddressesAreInvalid) {
  EXPECT_THAT(loop_->Call({.url = "ftp://127.0.0.1/x"}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("http")));
  EXPECT_THAT(loop_->Call({.url = ""}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("http")));
}

TEST_F(HttpLoopTest, CancelEndsWhatIsUnderWay) {
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  auto stalled = Start(Request());
  server_->WaitForStalled(1);
  loop_->Cancel();
  EXPECT_THAT(stalled.get(), HasError(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
  EXPECT_THAT(loop_->Call(Request()), HasError(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
}

TEST_F(HttpLoopTest, DestructorAnswersEverythingEvenWhatCallbacksStart) {
  MakeLoop({.threads = 2});
  Serve([](const ServerRequest&) { return ServerReply{.fault = ServerFault::kStall}; });
  std::latch answered(20);
  HttpLoop* const loop = loop_.get();
  for (int i = 0; i < 10; ++i) {
    loop->Start(Request(), [&, loop](absl::StatusOr<HttpReply>) {
      answered.count_down();
      loop->Start(Request(), [&](absl::StatusOr<HttpReply> reply) {
        EXPECT_THAT(reply, HasError(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
        answered.count_down();
      });
    });
  }
  server_->WaitForStalled(10);
  loop_.reset();
  EXPECT_TRUE(answered.try_wait());
}

TEST_F(HttpLoopTest, MessagesShowNeitherPasswordNorQuery) {
  EXPECT_THAT(loop_->Call({.url = "http://me:secret@127.0.0.1:1/a?key=secret"}),
              HasError(absl::StatusCode::kUnavailable, AllOf(HasSubstr("127.0.0.1:1/a"), Not(HasSubstr("secret")))));
}

TEST_F(HttpLoopTest, AProxyThatFailsIsNamed) {
  MakeLoop({.proxy = "http://me:secret@127.0.0.1:1"});
  EXPECT_THAT(loop_->Call({.url = "http://host.example/a"}),
              HasError(absl::StatusCode::kUnavailable, AllOf(HasSubstr("http://host.example/a through the proxy "
                                                                       "http://127.0.0.1:1"),
                                                             Not(HasSubstr("secret")))));
}

// A variable of this process while it lives.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~ScopedVariable() { unsetenv(name_); }

 private:
  const char* const name_;
};

TEST_F(HttpLoopTest, ThisMachineIsReachedWithoutTheProxyOfTheEnvironment) {
  const ScopedVariable http("http_proxy", "http://127.0.0.1:1"), all("all_proxy", "http://127.0.0.1:1");
  Serve([](const ServerRequest& request) { return ServerReply{.body = request.target}; });
  const auto direct = loop_->Call(Request());
  ASSERT_THAT(direct, IsOk());
  EXPECT_EQ(direct->body, "/path");
  // Unless it is asked for; then no_proxy does not count either.
  const ScopedVariable none("no_proxy", "*");
  MakeLoop({.proxy = server_->url()});
  const auto through = loop_->Call(Request());
  ASSERT_THAT(through, IsOk());
  EXPECT_EQ(through->body, server_->url() + "/path");
}

}  // namespace
}  // namespace reembed
