// SPDX-License-Identifier: Apache-2.0
#include "io/net/resp_client.h"

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/byte_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Answers the greeting as servers do, and all else with `reply`.
class RespClientTest : public testing::Test {
 protected:
  absl::StatusOr<RespReply> Ask(const std::string& reply) {
    server_ = std::make_unique<ByteServer>([reply](absl::string_view asked) {
      return absl::StrContains(asked, "PING") ? std::string("+PONG\r\n") : reply;
    });
    auto client = RespClient::Connect({.name = "falkordb://here", .host = "127.0.0.1", .port = server_->port()}, {});
    EXPECT_THAT(client, IsOk());
    if (!client.ok()) return client.status();
    client_ = *std::move(client);
    return client_->Call({"GRAPH.LIST"});
  }

  std::unique_ptr<ByteServer> server_;
  std::unique_ptr<RespClient> client_;
};

TEST_F(RespClientTest, WhatIsNotThereIsNull) {
  const absl::StatusOr<RespReply> reply = Ask("*2\r\n*0\r\n:7\r\n");
  ASSERT_THAT(reply, IsOk());
  const RespValue value = reply->value();
  EXPECT_EQ(value[1].Integer(), 7);
  for (const RespValue& none : {value[2], value[0][0], value[1][0], value[0][0][5][1]}) {
    EXPECT_TRUE(none.IsNull());
    EXPECT_FALSE(none.IsArray());
    EXPECT_FALSE(none.IsError());
    EXPECT_EQ(none.Integer(), 0);
    EXPECT_EQ(none.Text(), "");
    EXPECT_EQ(none.size(), 0);
  }
}

// Each is refused though nothing follows and the connection stays: nobody waits for what was announced.
TEST_F(RespClientTest, RefusesLengthsThatNobodyMeansAtOnce) {
  for (const char* const reply :
       {"*1000000000\r\n", "*2147483647\r\n", "*99999999999999999999\r\n", "$1000000000\r\n", "*1\r\n$99999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "hello\r\n", "$-7\r\n"}) {
    EXPECT_THAT(Ask(reply), HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("is this the right server?")))
        << reply;
  }
}

TEST_F(RespClientTest, AnAnswerInPiecesIsOne) {
  const std::string text(300000, 'x');
  const absl::StatusOr<RespReply> reply = Ask("*2\r\n$300000\r\n" + text + "\r\n*1\r\n$-1\r\n");
  ASSERT_THAT(reply, IsOk());
  EXPECT_EQ(reply->value()[0].Text(), text);
  EXPECT_TRUE(reply->value()[1][0].IsNull());
}

TEST_F(RespClientTest, NoMessageHasThePasswordThatTheServerRepeats) {
  ByteServer server([](absl::string_view asked) {
    return absl::StrContains(asked, "AUTH") ? "-WRONGPASS AUTH me geheim7 \x1b[2J is \xC2\x9B"
                                              "2Jwrong\r\n"
                                            : "-ERR\r\n";
  });
  EXPECT_THAT(RespClient::Connect({.name = "falkordb://here",
                                   .host = "127.0.0.1",
                                   .port = server.port(),
                                   .user = "me",
                                   .password = "geheim7",
                                   .password_variable = "FALKORDB_PASSWORD"},
                                  {}),
              HasError(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr("AUTH me [...]"), Not(HasSubstr("geheim")), Not(HasSubstr("\x1b")),
                             Not(HasSubstr("\xC2\x9B")), HasSubstr("FALKORDB_PASSWORD"))));
}

}  // namespace
}  // namespace reembed
