// SPDX-License-Identifier: Apache-2.0
#include "io/net/http_server_parser.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

using Result = HttpServerParser::Result;

void Give(absl::string_view bytes, HttpServerParser* parser) {
  while (!bytes.empty()) {
    const absl::Span<char> room = parser->Room();
    const size_t part = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), part);
    parser->Received(part);
    bytes.remove_prefix(part);
  }
}

// Method, path and body of each request in a stream that comes in pieces of these sizes, and "refused 400" at the end
// if it was.
std::vector<std::string> ParseAll(absl::string_view stream, const std::vector<size_t>& pieces,
                                  const HttpServerLimits& limits = {}) {
  HttpServerParser parser(limits);
  std::vector<std::string> seen;
  for (size_t i = 0; !stream.empty(); ++i) {
    const size_t piece = std::min(stream.size(), pieces[i % pieces.size()]);
    Give(stream.substr(0, piece), &parser);
    stream.remove_prefix(piece);
    Result result;
    while ((result = parser.Parse()) == Result::kReady) {
      const HttpServerRequest& request = parser.request();
      seen.push_back(absl::StrCat(request.method, " ", request.path, " ", request.body));
      parser.Next();
    }
    if (result == Result::kRefused) {
      seen.push_back(absl::StrCat("refused ", parser.refused_status()));
      return seen;
    }
  }
  return seen;
}

std::vector<std::string> ParseAtOnce(absl::string_view stream, const HttpServerLimits& limits = {}) {
  return ParseAll(stream, {stream.size()}, limits);
}

constexpr char kStream[] =
    "GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
    "\r\nPOST /b HTTP/1.1\r\nhost: h\r\nContent-Length: 5\r\n\r\nhello"
    "POST /c HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
    "3\r\nabc\r\n0A;ext=\"1\"\r\n0123456789\r\n000\r\nTrailer: 1\r\n\r\n"
    "POST http://h:80/d HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n";

TEST(HttpServerParserTest, FindsTheSameRequestsHoweverTheStreamIsCut) {
  const std::vector<std::string> expected = {"GET /a ", "POST /b hello", "POST /c abc0123456789", "POST /d "};
  EXPECT_EQ(ParseAtOnce(kStream), expected);
  for (size_t piece = 1; piece < 40; ++piece) EXPECT_EQ(ParseAll(kStream, {piece}), expected) << "pieces of " << piece;
  constexpr uint32_t kSeed = 11;
  std::mt19937 random(kSeed);
  for (int round = 0; round < 200; ++round) {
    std::vector<size_t> pieces(7);
    for (size_t& piece : pieces) piece = 1 + random() % 60;
    EXPECT_EQ(ParseAll(kStream, pieces), expected) << "seed " << kSeed << ", round " << round;
  }
}

TEST(HttpServerParserTest, ShowsHeadersInLowerCaseWithoutPadding) {
  HttpServerParser parser({});
  Give("GET / HTTP/1.1\r\nHOST: h\r\nX-Some-Thing: \t Two Words \r\nEmpty:\r\n\r\n", &parser);
  ASSERT_EQ(parser.Parse(), Result::kReady);
  EXPECT_THAT(parser.request().headers, SizeIs(3));
  EXPECT_EQ(parser.request().Header("x-some-thing"), "Two Words");
  EXPECT_EQ(parser.request().Header("empty"), "");
  EXPECT_EQ(parser.request().Header("absent"), "");
}

TEST(HttpServerParserTest, KnowsWhoWantsToKeepTheConnection) {
  const auto keeps = [](absl::string_view version, absl::string_view connection) {
    HttpServerParser parser({});
    Give(absl::StrCat("GET / HTTP/", version, "\r\nhost: h\r\n", connection, "\r\n"), &parser);
    EXPECT_EQ(parser.Parse(), Result::kReady);
    return parser.keep_alive();
  };
  EXPECT_TRUE(keeps("1.1", ""));
  EXPECT_FALSE(keeps("1.1", "Connection: foo, Close\r\n"));
  EXPECT_FALSE(keeps("1.0", ""));
  EXPECT_TRUE(keeps("1.0", "connection: keep-alive\r\n"));
}

TEST(HttpServerParserTest, RefusesWhatIsNotWellFormed) {
  const std::vector<std::pair<std::string, int>> cases = {
      {"\x16\x03\x01\x02", 400},  // TLS: at its first byte
      {"GARBAGE\r\n\r\n", 400},
      {"GET /\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\n\r\n", 505},
      {"GET / HTTP/1.1 \r\nhost: h\r\n\r\n", 400},
      {"GET  / HTTP/1.1\r\nhost: h\r\n\r\n", 400},
      {"G\tT / HTTP/1.1\r\nhost: h\r\n\r\n", 400},
      {"GET /\x01 HTTP/1.1\r\nhost: h\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},  // no host
      {"GET / HTTP/1.1\r\nhost : h\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: h\nx: y\r\n\r\n", 400},  // bare line feed
      {"GET / HTTP/1.1\r\nhost: h\r\nno colon\r\n\r\n", 400},
      {absl::StrCat("GET / HTTP/1.1\r\nhost: h\r\nx: a", std::string(1, '\0'), "b\r\n\r\n"), 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: +1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999999999999999\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nhost: h\r\nexpect: 200-maybe\r\n\r\n", 417},
      {"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2 x\r\nab\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n", 400},
  };
  for (const auto& [stream, status] : cases) {
    const std::vector<std::string> expected = {absl::StrCat("refused ", status)};
    EXPECT_EQ(ParseAtOnce(stream), expected) << stream;
    EXPECT_EQ(ParseAll(stream, {1}), expected) << stream;
  }
}

TEST(HttpServerParserTest, HoldsItsLimitsExactly) {
  constexpr HttpServerLimits kLimits = {.max_head_bytes = 200, .max_body_bytes = 10};
  const auto with_head = [](size_t bytes) {
    std::string head = "GET / HTTP/1.1\r\nhost: h\r\nx: ";
    return head + std::string(bytes - head.size(), 'y') + "\r\n\r\n";
  };
  EXPECT_THAT(ParseAtOnce(with_head(200), kLimits), ElementsAre("GET / "));
  EXPECT_THAT(ParseAtOnce(with_head(201), kLimits), ElementsAre("refused 431"));
  EXPECT_THAT(ParseAll(std::string(1000, 'G'), {10}, kLimits), ElementsAre("refused 431"));

  const std::string sized = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: ";
  EXPECT_THAT(ParseAtOnce(sized + "10\r\n\r\n0123456789", kLimits), ElementsAre("POST / 0123456789"));
  EXPECT_THAT(ParseAtOnce(sized + "11\r\n\r\n", kLimits), ElementsAre("refused 413"));
  const std::string chunked = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n";
  EXPECT_THAT(ParseAtOnce(chunked + "5\r\n56789\r\n0\r\n\r\n", kLimits), ElementsAre("POST / 0123456789"));
  EXPECT_THAT(ParseAtOnce(chunked + "6\r\n", kLimits), ElementsAre("refused 413"));
  EXPECT_THAT(ParseAtOnce(chunked + std::string(2000, '0'), kLimits), ElementsAre("refused 400"));
  EXPECT_THAT(ParseAtOnce(chunked + "0\r\n" + std::string(2000, 't'), kLimits), ElementsAre("refused 431"));
}

TEST(HttpServerParserTest, TakesManySmallChunks) {
  std::string stream = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n";
  std::string body;
  for (int i = 0; i < 200000; ++i) {
    body.push_back(static_cast<char>('a' + i % 26));
    absl::StrAppend(&stream, "1\r\n", body.substr(i), "\r\n");
  }
  stream.append("0\r\n\r\n");
  EXPECT_THAT(ParseAll(stream, {1000, 17}), ElementsAre("POST / " + body));
}

TEST(HttpServerParserTest, KeepsTheBodyPadded) {
  HttpServerParser parser({});
  const std::string body(100000, 'b');
  Give(absl::StrCat("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: ", body.size(), "\r\n\r\n", body), &parser);
  ASSERT_EQ(parser.Parse(), Result::kReady);
  const absl::string_view seen = parser.request().body;
  EXPECT_EQ(seen, body);
  // The address sanitizer watches these reads.
  int sum = 0;
  for (size_t i = 0; i < kHttpBodyPadding; ++i) sum += seen.data()[seen.size() + i] == 'x';
  EXPECT_LE(sum, static_cast<int>(kHttpBodyPadding));
}

TEST(HttpServerParserTest, SaysOnceThatThePeerWaitsForPermission) {
  HttpServerParser parser({});
  Give("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n", &parser);
  EXPECT_EQ(parser.Parse(), Result::kIncomplete);
  EXPECT_TRUE(parser.TakeContinue());
  EXPECT_FALSE(parser.TakeContinue());
  Give("ok", &parser);
  EXPECT_EQ(parser.Parse(), Result::kReady);
}

TEST(HttpServerParserTest, SurvivesRandomDamage) {
  constexpr uint32_t kSeed = 99;
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  for (int round = 0; round < 5000; ++round) {
    std::string stream = kStream;
    for (int i = 0; i < 3; ++i) stream[random() % stream.size()] = static_cast<char>(random());
    EXPECT_LE(ParseAll(stream, {1 + random() % 50}, {.max_head_bytes = 300, .max_body_bytes = 300}).size(), 20u);
  }
}

}  // namespace
}  // namespace reembed
