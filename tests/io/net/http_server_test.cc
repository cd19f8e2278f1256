// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_server.h"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/raw_http.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Tells what it was asked. "/large" is a shared body of 8 MiB with a tail, "/later" comes after 50 ms.
HttpServerResponse Echo(const HttpServerRequest& request) {
  static const auto* const large =
      new std::shared_ptr<const std::string>(std::make_shared<const std::string>(size_t{8} << 20, 'L'));
  HttpServerResponse response;
  response.content_type = "text/plain";
  response.headers = {{"x-path", std::string(request.path)}};
  if (request.path == "/large") {
    response.shared_body = *large;
    response.body = "tail";
    return response;
  }
  if (request.path == "/later") response.delay = absl::Milliseconds(50);
  response.body =
      absl::StrCat(request.method, " ", request.target, " ", request.body.size(), " ", request.body.substr(0, 100));
  return response;
}

std::unique_ptr<HttpServer> StartEcho(HttpServerOptions options = {}) {
  absl::StatusOr<std::unique_ptr<HttpServer>> server = HttpServer::Start(options, Echo);
  EXPECT_THAT(server, IsOk());
  return *std::move(server);
}

TEST(HttpServerTest, AnswersManyRequestsOnOneConnection) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  for (int i = 0; i < 100; ++i) {
    const RawHttpReply reply = client.Post(absl::StrCat("/n?i=", i), "body");
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, absl::StrCat("POST /n?i=", i, " 4 body"));
    EXPECT_EQ(reply.Header("x-path"), "/n");
    EXPECT_EQ(reply.Header("content-type"), "text/plain");
  }
}

TEST(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  std::string requests;
  for (int i = 0; i < 200; ++i) {
    const bool later = i == 3;  // a delayed reply holds the later ones back
    absl::StrAppend(&requests, "POST ", later ? "/later" : "/", "?", i,
                    " HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok");
  }
  ASSERT_TRUE(client.Send(requests));
  for (int i = 0; i < 200; ++i) EXPECT_THAT(client.Receive().body, HasSubstr(absl::StrCat("?", i, " 2 ok")));
}

TEST(HttpServerTest, TakesChunkedBodiesAndSplitPackets) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  const std::string request =
      "POST /c HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n world\r\n0\r\n\r\n";
  for (const char byte : request) ASSERT_TRUE(client.Send(absl::string_view(&byte, 1)));
  EXPECT_EQ(client.Receive().body, "POST /c 11 hello world");
}

TEST(HttpServerTest, SendsContinueBeforeTheBody) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  client.Send("POST /e HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 100);
  client.Send("data");
  EXPECT_EQ(client.Receive().body, "POST /e 4 data");
}

TEST(HttpServerTest, AnswersHeadWithoutBody) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  client.Send("HEAD /large HTTP/1.1\r\nhost: h\r\n\r\n");
  const RawHttpReply reply = client.ReceiveHead();
  EXPECT_EQ(reply.Header("content-length"), absl::StrCat((8 << 20) + 4));
  const RawHttpReply next = client.Get("/next");
  EXPECT_EQ(next.status, 200);  // nothing stood between
  EXPECT_EQ(next.body, "GET /next 0 ");
}

TEST(HttpServerTest, SendsLargeSharedBodies) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  for (int i = 0; i < 3; ++i) {
    const RawHttpReply reply = client.Get("/large");
    EXPECT_EQ(reply.body.size(), (size_t{8} << 20) + 4);
    EXPECT_EQ(reply.body, std::string(size_t{8} << 20, 'L') + "tail");
  }
}

TEST(HttpServerTest, RefusesTooLongRequestsAndStillGetsTheAnswerThrough) {
  HttpServerOptions options;
  options.limits.max_body_bytes = 1 << 20;
  const auto server = StartEcho(options);
  // The client sends everything before it reads, as most do.
  RawHttpClient body(server->port());
  EXPECT_TRUE(body.Send(absl::StrCat("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: ", 4 << 20, "\r\n\r\n")));
  EXPECT_TRUE(body.Send(std::string(4 << 20, 'x')));
  const RawHttpReply too_long = body.Receive();
  EXPECT_EQ(too_long.status, 413);
  EXPECT_THAT(too_long.body, StartsWith("{\"error\":{\"message\":\"the body is longer than 1048576 bytes\""));
  EXPECT_EQ(too_long.Header("connection"), "close");
  EXPECT_TRUE(body.Ends());

  RawHttpClient head(server->port());
  EXPECT_EQ(head.Get("/", absl::StrCat("x: ", std::string(100 << 10, 'x'), "\r\n")).status, 431);

  RawHttpClient garbage(server->port());
  garbage.Send("\x16\x03\x01\x02garbage");
  EXPECT_EQ(garbage.Receive().status, 400);

  EXPECT_EQ(RawHttpClient(server->port()).Get("/").status, 200);
}

TEST(HttpServerTest, ClosesWhenAskedTo) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  EXPECT_EQ(client.Get("/", "connection: close\r\n").Header("connection"), "close");
  EXPECT_TRUE(client.Ends());
}

TEST(HttpServerTest, AnswersAClientThatSendsNoMore) {
  const auto server = StartEcho();
  RawHttpClient client(server->port());
  client.Send("GET /later HTTP/1.1\r\nhost: h\r\n\r\nGET /b HTTP/1.1\r\nhost: h\r\n\r\n");
  client.FinishSending();
  EXPECT_EQ(client.Receive().body, "GET /later 0 ");
  EXPECT_EQ(client.Receive().body, "GET /b 0 ");
  EXPECT_TRUE(client.Ends());
}

TEST(HttpServerTest, ServesManyConnectionsAtOnce) {
  HttpServerOptions options;
  options.threads = 3;
  const auto server = StartEcho(options);
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 200; ++i) clients.push_back(std::make_unique<RawHttpClient>(server->port()));
  for (int round = 0; round < 3; ++round) {
    for (auto& client : clients) client->Send("POST /later HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx");
    for (auto& client : clients) EXPECT_EQ(client->Receive().body, "POST /later 1 x");
  }
}

TEST(HttpServerTest, DelaysOverlap) {
  const auto server = StartEcho();  // one thread
  std::vector<std::unique_ptr<RawHttpClient>> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(std::make_unique<RawHttpClient>(server->port()));
  const auto begin = std::chrono::steady_clock::now();
  for (auto& client : clients) client->Send("GET /later HTTP/1.1\r\nhost: h\r\n\r\n");
  for (auto& client : clients) EXPECT_EQ(client->Receive().status, 200);
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(elapsed, std::chrono::milliseconds(50));
  EXPECT_LT(elapsed, std::chrono::milliseconds(50 * 100));  // one after the other
}

TEST(HttpServerTest, SurvivesClientsThatDisappear) {
  const auto server = StartEcho();
  for (int i = 0; i < 30; ++i) {
    RawHttpClient client(server->port());
    switch (i % 3) {
      case 0:  // in the middle of a request
        client.Send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf");
        break;
      case 1:  // while the reply waits
        client.Send("GET /later HTTP/1.1\r\nhost: h\r\n\r\n");
        break;
      default:  // in the middle of the reply
        client.Send("GET /large HTTP/1.1\r\nhost: h\r\n\r\n");
    }
    client.Reset();
  }
  EXPECT_EQ(RawHttpClient(server->port()).Get("/").status, 200);
}

TEST(HttpServerTest, TurnsAwayConnectionsBeyondTheLimitAndTakesNewOnesLater) {
  HttpServerOptions options;
  options.max_connections = 2;
  options.threads = 2;
  const auto server = StartEcho(options);
  std::optional<RawHttpClient> first(server->port()), second(server->port());
  EXPECT_EQ(first->Get("/").status, 200);
  EXPECT_EQ(second->Get("/").status, 200);
  RawHttpClient third(server->port());
  EXPECT_EQ(third.Receive().status, 503);
  EXPECT_TRUE(third.Ends());
  EXPECT_EQ(first->Get("/", "connection: close\r\n").status, 200);
  EXPECT_TRUE(first->Ends());
  // The place is free some moments after the client sees the end.
  int status = 0;
  for (int tries = 0; tries < 1000 && status != 200; ++tries) status = RawHttpClient(server->port()).Get("/").status;
  EXPECT_EQ(status, 200);
}

TEST(HttpServerTest, ClosesSilentConnections) {
  HttpServerOptions options;
  options.idle_timeout = absl::Milliseconds(50);
  const auto server = StartEcho(options);
  RawHttpClient silent(server->port());
  RawHttpClient half(server->port());
  half.Send("POST / HTTP/1.1\r\nhost: h\r\ncontent-le");
  EXPECT_TRUE(silent.Ends());
  EXPECT_EQ(half.Receive().status, 408);
  EXPECT_TRUE(half.Ends());
}

// A byte now and then does not keep a request alive for ever.
TEST(HttpServerTest, ARequestThatTakesTooLongIsAnswered408) {
  for (const std::string part : {"headers", "body"}) {
    SCOPED_TRACE(part);
    HttpServerOptions options;
    (part == "body" ? options.request_timeout : options.head_timeout) = absl::Milliseconds(50);
    const auto server = StartEcho(options);
    RawHttpClient slow(server->port());
    slow.Send(absl::StrCat("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n", part == "body" ? "\r\na" : ""));
    const RawHttpReply reply = slow.Receive();
    EXPECT_EQ(reply.status, 408);
    EXPECT_THAT(reply.body, HasSubstr(absl::StrCat("the ", part, " of the request did not come in time")));
    EXPECT_TRUE(slow.Ends());
  }
}

// Half of a second request behind a first one begins anew.
TEST(HttpServerTest, EachRequestHasItsOwnTime) {
  HttpServerOptions options;
  options.head_timeout = absl::Hours(1);
  const auto server = StartEcho(options);
  RawHttpClient client(server->port());
  client.Send("GET /later HTTP/1.1\r\nhost: h\r\n\r\nGET /next HTTP/1.1\r\nhost: h\r\n");
  EXPECT_EQ(client.Receive().Header("x-path"), "/later");
  client.Send("\r\n");
  EXPECT_EQ(client.Receive().Header("x-path"), "/next");
}

// 120 idle connections under a small limit of files have locked everybody out.
TEST(HttpServerTest, IdleConnectionsMakeRoomForThoseThatAsk) {
  HttpServerOptions options;
  options.max_connections = 2;
  options.idle_yields = absl::ZeroDuration();
  const auto server = StartEcho(options);
  RawHttpClient first(server->port()), second(server->port());
  EXPECT_EQ(first.Get("/").status, 200);
  EXPECT_EQ(second.Get("/").status, 200);
  RawHttpClient third(server->port());
  EXPECT_EQ(third.Get("/").status, 200);
  EXPECT_TRUE(first.Ends()) << "it was idle longest";
  EXPECT_EQ(second.Get("/").status, 200);
}

TEST(HttpServerTest, WithoutFreeDescriptorsIdleConnectionsMakeRoom) {
  HttpServerOptions options;
  options.idle_yields = absl::ZeroDuration();
  const auto server = StartEcho(options);
  RawHttpClient idle(server->port());
  EXPECT_EQ(idle.Get("/").status, 200);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest_free = dup(0);
  close(lowest_free);
  const rlimit one_more = {.rlim_cur = static_cast<rlim_t>(lowest_free) + 1, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &one_more), 0);
  RawHttpClient asks(server->port());
  EXPECT_EQ(asks.Get("/").status, 200);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(idle.Ends());
}

TEST(HttpServerTest, WhatAllRequestsHoldTogetherIsBounded) {
  HttpServerOptions options;
  options.max_held_bytes = 200'000;
  const auto server = StartEcho(options);
  RawHttpClient large(server->port());
  large.Send(absl::StrCat("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 400000\r\n\r\n"));
  EXPECT_EQ(large.Receive().status, 100);
  large.Send(std::string(400'000, 'b'));
  EXPECT_EQ(large.Receive().status, 503);
  EXPECT_TRUE(large.Ends());
  large.Reset();
  RawHttpClient small(server->port());
  EXPECT_EQ(small.Post("/small", "body").status, 200);
}

// A web page whose name leads to this machine asks with that name.
TEST(HttpServerTest, OnlyNamesOfThisMachineAreTakenWhereThatIsWanted) {
  HttpServerOptions options;
  options.only_local_hosts = true;
  const auto server = StartEcho(options);
  const auto status = [&](const std::string& host) {
    RawHttpClient client(server->port());
    client.Send(absl::StrCat("GET / HTTP/1.1\r\nhost: ", host, "\r\n\r\n"));
    return client.Receive().status;
  };
  for (const std::string host : {"localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "127.8.9.1", "[::1]:80"}) {
    EXPECT_EQ(status(host), 200) << host;
  }
  for (const std::string host : {"evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1"}) {
    EXPECT_EQ(status(host), 403) << host;
  }
}

// A reply that goes on until its writer, or the server, ends it.
class EndlessReplyTest : public ::testing::Test {
 protected:
  void Start(int last, absl::Duration every = absl::Milliseconds(20)) {
    auto server = HttpServer::Start({.stop_timeout = absl::Seconds(2)}, [this, last, every](const HttpServerRequest&) {
      HttpServerResponse response;
      response.content_type = "text/event-stream";
      response.body = "first\n";
      response.every = every;
      response.next = [this, last](std::string* piece) {
        absl::StrAppend(piece, "piece ", ++pieces_, "\n");
        return pieces_ < last;
      };
      return response;
    });
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  std::atomic<int> pieces_{0};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(EndlessReplyTest, ComesInPiecesAndEndsWithItsConnection) {
  Start(3);
  RawHttpClient client(server_->port());
  ASSERT_TRUE(client.Send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n"));
  const std::string all = client.ReceiveAll();
  EXPECT_THAT(all, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(all, Not(HasSubstr("content-length")));
  EXPECT_THAT(all, HasSubstr("connection: close\r\n"));
  EXPECT_THAT(all, HasSubstr("\r\n\r\nfirst\npiece 1\npiece 2\npiece 3\n"));
}

TEST_F(EndlessReplyTest, OthersAreAnsweredMeanwhile) {
  Start(1 << 30);
  RawHttpClient listener(server_->port());
  ASSERT_TRUE(listener.Send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n"));
  RawHttpClient other(server_->port());
  ASSERT_TRUE(other.Send("HEAD /events HTTP/1.1\r\nhost: x\r\n\r\n"));
  EXPECT_EQ(other.ReceiveHead().status, 200) << "which has no pieces";
  while (pieces_ < 3) std::this_thread::yield();
}

TEST_F(EndlessReplyTest, AStopHasTheLastPieceAtOnce) {
  Start(1 << 30, absl::Hours(1));
  RawHttpClient listener(server_->port());
  ASSERT_TRUE(listener.Send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n"));
  RawHttpClient other(server_->port());
  ASSERT_TRUE(other.Send("HEAD /events HTTP/1.1\r\nhost: x\r\n\r\n"));
  EXPECT_EQ(other.ReceiveHead().status, 200) << "so that the other request is there";
  EXPECT_EQ(pieces_, 0);
  server_->Stop();
  EXPECT_THAT(listener.ReceiveAll(), HasSubstr("first\npiece 1\n"));
}

TEST_F(EndlessReplyTest, AListenerThatLeavesIsNotToldMore) {
  Start(1 << 30);
  auto listener = std::make_unique<RawHttpClient>(server_->port());
  ASSERT_TRUE(listener->Send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n"));
  while (pieces_ < 3) std::this_thread::yield();
  listener->FinishSending();
  // Which is all that a browser does when its page is closed.
  EXPECT_THAT(listener->ReceiveAll(), HasSubstr("piece 3\n")) << "it ends";
}

TEST(HttpServerTest, StopsAtOnceWhenIdle) {
  HttpServerOptions options;
  options.threads = 2;
  options.stop_timeout = absl::Hours(1);
  const auto server = StartEcho(options);
  RawHttpClient idle(server->port());
  EXPECT_EQ(idle.Get("/").status, 200);
  server->Stop();
  EXPECT_TRUE(idle.Ends());
  EXPECT_FALSE(RawHttpClient(server->port()).connected());
  server->Stop();  // harmless
}

TEST(HttpServerTest, StopFinishesRequestsUnderWay) {
  std::latch asked(1);
  HttpServerOptions options;
  options.stop_timeout = absl::Hours(1);
  auto server = HttpServer::Start(options, [&asked](const HttpServerRequest& request) {
    HttpServerResponse response = Echo(request);
    response.delay = absl::Milliseconds(100);
    asked.count_down();
    return response;
  });
  ASSERT_THAT(server, IsOk());
  RawHttpClient client((*server)->port());
  client.Send("POST /under-way HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
  asked.wait();
  (*server)->Stop();
  EXPECT_EQ(client.Receive().body, "POST /under-way 0 ");
  EXPECT_TRUE(client.Ends());
}

TEST(HttpServerTest, StopWaitsForTheRestOfARequest) {
  HttpServerOptions options;
  options.stop_timeout = absl::Hours(1);
  const auto server = StartEcho(options);
  RawHttpClient client(server->port());
  client.Send("POST /half HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 100);
  std::thread stops([&server] { server->Stop(); });
  while (RawHttpClient(server->port()).connected()) {  // until it has begun to stop
  }
  client.Send("rest");
  const RawHttpReply reply = client.Receive();
  EXPECT_EQ(reply.body, "POST /half 4 rest");
  EXPECT_EQ(reply.Header("connection"), "close");
  stops.join();
}

TEST(HttpServerTest, StopGivesUpOnClientsThatHang) {
  HttpServerOptions options;
  options.stop_timeout = absl::Milliseconds(50);
  auto server = StartEcho(options);
  RawHttpClient hangs(server->port());
  hangs.Send("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
  EXPECT_EQ(hangs.Receive().status, 100);
  hangs.Send("a");
  server.reset();  // the destructor stops too
  EXPECT_TRUE(hangs.Ends());
}

TEST(HttpServerTest, SurvivesWithoutFreeDescriptors) {
  const auto server = StartEcho();  // one thread, so that what follows is in order
  RawHttpClient served(server->port());
  EXPECT_EQ(served.Get("/").status, 200);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest_free = dup(0);
  close(lowest_free);
  const rlimit one_more = {.rlim_cur = static_cast<rlim_t>(lowest_free) + 1, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &one_more), 0);
  RawHttpClient waits(server->port());  // takes it, and leaves none to accept with
  waits.Send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
  // By the second answer the server has tried.
  EXPECT_EQ(served.Get("/").status, 200);
  EXPECT_EQ(served.Get("/").status, 200);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(waits.Receive().status, 200);
}

TEST(HttpServerTest, NamesWhatIsWrongWithTheAddress) {
  const auto start = [](const std::string& address, int port, int threads) {
    HttpServerOptions options;
    options.address = address;
    options.port = port;
    options.threads = threads;
    return HttpServer::Start(options, Echo).status();
  };
  const auto server = StartEcho();
  EXPECT_THAT(start("localhost", 0, 1), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("localhost")));
  EXPECT_THAT(start("127.0.0.1", 65536, 1), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("65536")));
  EXPECT_THAT(start("127.0.0.1", 0, 0), HasError(absl::StatusCode::kInvalidArgument, HasSubstr("threads")));
  EXPECT_THAT(start("127.0.0.1", server->port(), 1),
              HasError(absl::StatusCode::kUnavailable, HasSubstr(absl::StrCat(server->port(), ": cannot listen"))));
}

}  // namespace
}  // namespace reembed
