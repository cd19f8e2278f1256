// SPDX-License-Identifier: Apache-2.0
#include "io/share/quota_server.h"

#include <iostream>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/valkey_server.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kStart = 1'700'000'000'123'456;

std::string Text(const QuotaGrant& grant) {
  return absl::StrCat(grant.requests, " ", grant.tokens, " begin ", absl::ToInt64Microseconds(grant.begin), " epoch ",
                      grant.epoch, " pause ", absl::ToInt64Microseconds(grant.pause), " workers ", grant.workers,
                      " limit ", grant.limit.requests_per_minute, " ", grant.limit.tokens_per_minute, " money ",
                      grant.money, " left ", grant.money_left);
}

// What a worker may ask for, sensible or not.
QuotaAsk RandomAsk(std::mt19937_64* random, int64_t epoch) {
  const auto below = [random](uint64_t end) { return static_cast<int64_t>((*random)() % end); };
  QuotaAsk ask{.worker = absl::StrCat("w", below(6)), .epoch = below(4) > 0 ? epoch : below(3)};
  if (below(5) > 0) {
    ask.requests = below(20);
    ask.tokens = below(20'000);
    ask.least_tokens = ask.tokens > 0 ? below(static_cast<uint64_t>(ask.tokens)) : 0;
  }
  // Narrow ones come so seldom that they are forgotten in between.
  ask.given = {.requests_per_minute = below(3) == 0    ? 0
                                      : below(60) == 0 ? 1000 + static_cast<double>(below(4)) / 7
                                                       : 3000.5,
               .tokens_per_minute = below(3) == 0    ? 0
                                    : below(60) == 0 ? 1e5 + 1.0 / 3
                                                     : 1e6 / 3};
  if (below(40) == 0) ask.said.requests_per_minute = 100 + static_cast<double>(below(4000)) / 7;
  if (below(40) == 0) ask.said.tokens_per_minute = 1e5 + static_cast<double>(below(400'000)) / 3;
  if (below(4) == 0) ask.requests_back = below(5);
  if (below(3) == 0) ask.tokens_back = below(3000) - 1500;
  if (below(30) == 0) ask.refused = absl::Microseconds(1 + below(3'000'000));
  ask.returns = below(10) == 0;
  ask.leaves = below(15) == 0;
  if (below(2) == 0) {
    ask.account = absl::StrCat("a", below(3));
    ask.money_spent = below(4'000'000);
    ask.money_wanted = ask.money_spent + below(1'000'000);
    ask.money_cap = 9'000'000;
  }
  return ask;
}

// The simulation has QuotaBook, the workers the script: they are the same.
TEST(QuotaServerTest, TheScriptAndTheBookGiveTheSameAnswers) {
  const ValkeyServer server;
  const uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  for (int series = 0; series < 20; ++series) {
    QuotaServer script(server.At(absl::StrCat("series", series)));
    QuotaBook book;
    int64_t now = kStart, epoch = 0;
    for (int step = 0; step < 250; ++step) {
      const QuotaAsk ask = RandomAsk(&random, epoch);
      const absl::StatusOr<QuotaGrant> answered = script.Ask(ask, now);
      ASSERT_THAT(answered, IsOk());
      const QuotaGrant expected = book.Ask(ask, now);
      ASSERT_EQ(Text(*answered), Text(expected)) << "seed " << seed << ", series " << series << ", step " << step;
      epoch = expected.epoch;
      switch (random() % 50) {
        case 0:
          now += 11'000'000;  // all were away
          break;
        case 1:
          now -= 500'000;  // the clock is set
          break;
        case 2:
          now -= 86'400'000'000;
          break;
        case 3:
          now += 3'000'000;
          break;
        default:
          now += static_cast<int64_t>(random() % 200'000);
      }
    }
  }
}

TEST(QuotaServerTest, GoesByTheClockOfTheServer) {
  const ValkeyServer server;
  QuotaServer quota(server.At("account"));
  const QuotaAsk ask{.worker = "w", .requests = 3, .given = {.requests_per_minute = 60}};
  const absl::StatusOr<QuotaGrant> first = quota.Ask(ask);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->begin, absl::ZeroDuration());
  EXPECT_EQ(first->requests, 3);
  const absl::StatusOr<QuotaGrant> second = quota.Ask(ask);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->requests, 1) << "what is far ahead is given one by one";
  EXPECT_LE(second->begin, absl::Seconds(3));
  EXPECT_GE(second->begin, absl::Seconds(1)) << "the machine stood still, or the script has another clock";
}

TEST(QuotaServerTest, FindsAServerThatHasForgottenAll) {
  ValkeyServer server;
  QuotaServer quota(server.At("account"));
  ASSERT_THAT(quota.Ask({.worker = "w"}), IsOk());
  EXPECT_EQ(server.Ask({"SCRIPT", "FLUSH"}), "OK");
  EXPECT_THAT(quota.Ask({.worker = "w"}), IsOk());
  server.Stop();
  EXPECT_THAT(quota.Ask({.worker = "w"}), HasError(absl::StatusCode::kUnavailable, HasSubstr("server running")));
  server.Start();
  EXPECT_THAT(quota.Ask({.worker = "w"}), IsOk());
}

TEST(QuotaServerTest, NamesWhatIsWrongWithTheServer) {
  const ValkeyServer server({.password = "right-password"});
  EXPECT_THAT(QuotaServer(server.At("k")).Ask({.worker = "w"}), IsOk());
  ShareAddress wrong = server.At("k");
  wrong.server.password = "wrong-password";
  EXPECT_THAT(QuotaServer(wrong).Ask({.worker = "w"}),
              HasError(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr("REDIS_PASSWORD"), Not(HasSubstr("wrong-password")))));
  wrong.server.password = "";
  EXPECT_THAT(QuotaServer(wrong).Ask({.worker = "w"}),
              HasError(absl::StatusCode::kUnauthenticated, HasSubstr("REDIS_PASSWORD")));
  ShareAddress database = server.At("k");
  database.server.database = 99;
  EXPECT_THAT(QuotaServer(database).Ask({.worker = "w"}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("DB index is out of range")));
  database.server.database = 3;
  EXPECT_THAT(QuotaServer(database).Ask({.worker = "w"}), IsOk());
  server.Ask({"SET", "reembed:quota:{taken}", "something else"});
  EXPECT_THAT(QuotaServer(server.At("taken")).Ask({.worker = "w"}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("reembed:quota:{taken}")));
}

TEST(QuotaServerTest, TalksOverTls) {
  const ValkeyServer server({.password = "right-password", .tls = true});
  EXPECT_THAT(QuotaServer(server.At("k")).Ask({.worker = "w"}), IsOk());
  ShareAddress plain = server.At("k");
  plain.server.tls = false;
  EXPECT_THAT(QuotaServer(plain).Ask({.worker = "w"}).status().code(),
              AnyOf(absl::StatusCode::kUnavailable, absl::StatusCode::kFailedPrecondition));
  ShareAddress stranger = server.At("k");
  stranger.server.ca_file.clear();
  EXPECT_THAT(QuotaServer(stranger).Ask({.worker = "w"}),
              HasError(absl::StatusCode::kFailedPrecondition, HasSubstr("certificate")));
  const ValkeyServer without;
  ShareAddress no_tls = without.At("k");
  no_tls.server.tls = true;
  EXPECT_THAT(QuotaServer(no_tls).Ask({.worker = "w"}), HasError(absl::StatusCode::kUnavailable, HasSubstr("TLS")));
}

TEST(ShareAddressTest, ReadsAddresses) {
  const absl::StatusOr<ShareAddress> address =
      ParseShareAddress("--quota", "rediss://me@cache.example:7000/team-a:openai?db=4&ca=/etc/ca.pem", "secret");
  ASSERT_THAT(address, IsOk());
  EXPECT_EQ(address->key, "team-a:openai");
  EXPECT_EQ(address->server.host, "cache.example");
  EXPECT_EQ(address->server.port, 7000);
  EXPECT_EQ(address->server.user, "me");
  EXPECT_EQ(address->server.password, "secret");
  EXPECT_EQ(address->server.database, 4);
  EXPECT_TRUE(address->server.tls);
  EXPECT_EQ(address->server.ca_file, "/etc/ca.pem");
  EXPECT_EQ(address->name, "rediss://me@cache.example:7000/team-a:openai");
  EXPECT_THAT(ParseShareAddress("--quota", "redis://[::1]:7000/k", ""), IsOk());
}

TEST(ShareAddressTest, RefusesWhatIsNoAddress) {
  for (const auto& [uri, words] : {std::pair{"http://h/k", "expected redis://"},
                                   {"redis://h", "no key"},
                                   {"redis:///k", "no host"},
                                   {"redis://h:70000/k", "port"},
                                   {"redis://h/0", "/KEY?db=0"},
                                   {"redis://h/k?db=x", "db"},
                                   {"redis://h/k?tls=1", "unknown parameter `tls`"},
                                   {"redis://h/{k}", "braces"}}) {
    EXPECT_THAT(ParseShareAddress("--quota", uri, ""),
                HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("--quota"), HasSubstr(words))))
        << uri;
  }
  EXPECT_THAT(
      ParseShareAddress("--cache", "redis://u:very-secret@h/k", ""),
      HasError(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("REDIS_PASSWORD"), Not(HasSubstr("very-secret")))));
}

}  // namespace
}  // namespace reembed
