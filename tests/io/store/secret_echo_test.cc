// SPDX-License-Identifier: Apache-2.0
// Servers, or what stands before them, that repeat a password or key in what they say.

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "io/store/postgres/postgres_connection.h"
#include "io/store/postgres/postgres_table.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/sqlite/hrana.h"
#include "tests/fakes/byte_server.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kSecret[] = "geheim-0123456789";

testing::Matcher<const std::string&> IsHarmless() {
  return AllOf(HasSubstr("[...]"), Not(HasSubstr("geheim")), Not(HasSubstr("0123")), Not(HasSubstr("\x1b")));
}

std::string PostgresMessage(char type, const std::string& body) {
  const size_t size = body.size() + 4;
  std::string bytes(1, type);
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(size >> shift & 0xFF));
  return bytes + body;
}

std::string PostgresError(const std::string& code, const std::string& words) {
  const std::string end(1, '\0');
  return PostgresMessage('E', absl::StrCat("SFATAL", end, "VFATAL", end, "C", code, end, "M", words, end, end));
}

// Asks for the password in plain text, and repeats all that it gets.
std::string AnswerOfPostgres(absl::string_view asked) {
  constexpr size_t kAskForTls = 8;
  if (asked.size() == kAskForTls) return "N";
  if (asked.front() != 'p') return PostgresMessage('R', std::string("\0\0\0\3", 4));
  return PostgresError("28P01", absl::StrCat("\x1b[2Jyou said ", asked.substr(5, asked.size() - 6)));
}

absl::Status ConnectTo(const std::string& uri, const std::string& password) {
  absl::StatusOr<Location> location = ParseLocation(uri);
  if (!location.ok()) return location.status();
  location->secret = password;
  const absl::StatusOr<PostgresLocation> asked = ParsePostgresLocation(*location);
  if (!asked.ok()) return asked.status();
  return PostgresConnection::Open(asked->address, {.patience = absl::ZeroDuration()}).status();
}

TEST(SecretEchoTest, PostgresRepeatsThePassword) {
  ByteServer server(AnswerOfPostgres);
  EXPECT_THAT(ConnectTo(absl::StrCat("postgres://me@127.0.0.1:", server.port(), "/db?table=t"), kSecret),
              HasError(absl::StatusCode::kUnauthenticated, IsHarmless()));
}

TEST(SecretEchoTest, OptionsOfLibpqHoldNoSecret) {
  EXPECT_THAT(ConnectTo(absl::StrCat("postgres://me@127.0.0.1:1/db?table=t&options=-c%20app.password%3D", kSecret), ""),
              HasError(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("PGOPTIONS"), Not(HasSubstr("geheim")), Not(HasSubstr("0123")))));
}

TEST(SecretEchoTest, PostgresRepeatsWhatPgoptionsHold) {
  ByteServer server([](absl::string_view asked) {
    return asked.size() == 8 ? std::string("N") : PostgresError("22023", absl::StrCat("invalid value: ", kSecret));
  });
  setenv("PGOPTIONS", absl::StrCat("-c app.password=", kSecret).c_str(), 1);
  const absl::Status status = ConnectTo(absl::StrCat("postgres://me@127.0.0.1:", server.port(), "/db?table=t"), "");
  unsetenv("PGOPTIONS");
  EXPECT_THAT(std::string(status.message()), IsHarmless());
}

TEST(SecretEchoTest, QdrantRepeatsTheKey) {
  for (const int status : {400, 401, 403, 409}) {
    ScriptedServer server([status](const ServerRequest& request) {
      return ServerReply{
          .status = status,
          .body = absl::StrCat(R"({"status":{"error":"\u001b[2Jbad key )", request.headers.at("api-key"), R"("}})")};
    });
    const auto client = QdrantClient::Make(server.url(), {.api_key = kSecret, .patience = absl::ZeroDuration()});
    ASSERT_THAT(client, IsOk());
    const absl::Status answer = (*client)->Call({.method = "GET", .path = "/collections"}).status();
    EXPECT_THAT(std::string(answer.message()), IsHarmless()) << status;
  }
}

TEST(SecretEchoTest, LibsqlRepeatsTheToken) {
  for (const int status : {200, 400, 401, 500}) {
    ScriptedServer server([status](const ServerRequest& request) {
      const std::string said = absl::StrCat("\\u001b[2Jbad ", request.headers.at("authorization"));
      return ServerReply{.status = status,
                         .body = absl::StrCat(R"({"results":[{"type":"error","error":{"message":")", said,
                                              R"(","code":"SQLITE_AUTH"}}]})")};
    });
    const auto connection = HranaConnection::Make({.name = "libsql", .url = server.url(), .token = kSecret}, {});
    ASSERT_THAT(connection, IsOk());
    const absl::Status answer = (*connection)->CountParameters("SELECT ?").status();
    EXPECT_THAT(std::string(answer.message()), IsHarmless()) << status;
  }
}

}  // namespace
}  // namespace reembed
