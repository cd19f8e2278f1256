// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/quota_lease.h"

#include <string>

#include "engine/pace/pacer.h"
#include "engine/pace/quota_book.h"
#include "engine/pace/shared_quota.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kNow = absl::Seconds(1000);
constexpr int64_t kClock = 1'700'000'000'000'000;

// A worker and the server, with nothing between them.
class Worker {
 public:
  Worker(std::string name, const RateLimit& limit) : lease(std::move(name), limit, 1) {}
  QuotaGrant Ask(QuotaBook* book, Moment now) {
    const QuotaGrant grant = book->Ask(lease.Ask(now), kClock + absl::ToInt64Microseconds(now));
    lease.Answered(grant, now);
    return grant;
  }
  // How many requests leave from `from` to `to`, when all wait for nothing but the quota.
  int Send(QuotaBook* book, Moment from, Moment to, int64_t tokens = 100) {
    int sent = 0;
    for (Moment now = from; now < to; now += absl::Milliseconds(1)) {
      while (lease.TryStart(tokens, now) <= now) ++sent;
      if (lease.NextAsk(now) > now) continue;
      if (book != nullptr) {
        Ask(book, now);
      } else {
        lease.Ask(now);
        lease.Failed(now);
      }
    }
    return sent;
  }
  QuotaLease lease;
};

TEST(QuotaLeaseTest, NothingLeavesBeforeTheFirstGrant) {
  Worker worker("a", {.requests_per_minute = 6000});
  EXPECT_GT(worker.lease.TryStart(10, kNow), kNow);
  EXPECT_LE(worker.lease.NextAsk(kNow), kNow);
}

TEST(QuotaLeaseTest, AsksAFewTimesASecondAndUsesAll) {
  QuotaBook book;
  Worker worker("a", {.requests_per_minute = 6000});
  int asks = 0;
  const int sent = worker.Send(&book, kNow, kNow + absl::Seconds(1));
  EXPECT_GE(sent, 95);
  for (Moment now = kNow + absl::Seconds(1); now < kNow + absl::Seconds(2); now += absl::Milliseconds(1)) {
    while (worker.lease.TryStart(100, now) <= now) {
    }
    if (worker.lease.NextAsk(now) > now) continue;
    worker.Ask(&book, now);
    ++asks;
  }
  EXPECT_LE(asks, 10);
}

TEST(QuotaLeaseTest, TokensAreCountedAsTheyAreCharged) {
  QuotaBook book;
  Worker worker("a", {.tokens_per_minute = 600'000});
  const int first = worker.Send(&book, kNow, kNow + absl::Seconds(10), 100);
  EXPECT_NEAR(first, 1000, 60);
  // All cost twice what was estimated: half as many may leave.
  int sent = 0;
  for (Moment now = kNow + absl::Seconds(10); now < kNow + absl::Seconds(20); now += absl::Milliseconds(1)) {
    while (worker.lease.TryStart(100, now) <= now) {
      ++sent;
      worker.lease.Tell({.tokens_back = -100}, now);
    }
    if (worker.lease.NextAsk(now) <= now) worker.Ask(&book, now);
  }
  EXPECT_NEAR(sent, 500, 40);
}

TEST(QuotaLeaseTest, WhoHasSentLittleAsksForLittle) {
  QuotaBook book;
  Worker worker("a", {.requests_per_minute = 6000, .tokens_per_minute = 600'000});
  EXPECT_GT(worker.lease.TryStart(16, kNow), kNow);
  EXPECT_EQ(worker.Ask(&book, kNow).requests, 1) << "not the 25 that a quarter of a second has";
  EXPECT_EQ(worker.lease.TryStart(16, kNow), kNow);
  const Moment then = kNow + absl::Milliseconds(50);
  EXPECT_GT(worker.lease.TryStart(80, then), then);
  EXPECT_EQ(worker.Ask(&book, then).requests, 2);
  EXPECT_EQ(worker.lease.TryStart(80, then), then);
  worker.Send(&book, then, kNow + absl::Seconds(1));
  EXPECT_GE(worker.Send(&book, kNow + absl::Seconds(1), kNow + absl::Seconds(2)), 98);
}

TEST(QuotaLeaseTest, ALeaseOfOneRequestIsAskedForWhenThereIsOne) {
  QuotaBook book;
  Worker worker("a", {.requests_per_minute = 60});
  EXPECT_GT(worker.lease.TryStart(10, kNow), kNow);
  EXPECT_EQ(worker.Ask(&book, kNow).requests, 1);
  EXPECT_EQ(worker.lease.TryStart(10, kNow), kNow);
  // It was the last, perhaps: now there is nothing but news.
  EXPECT_GE(worker.lease.NextAsk(kNow), kNow + absl::Milliseconds(500));
  const Moment then = kNow + absl::Milliseconds(60);
  EXPECT_GT(worker.lease.TryStart(10, then), then);
  EXPECT_LE(worker.lease.NextAsk(then), then);
  EXPECT_EQ(worker.lease.Ask(then).requests, 1);
}

TEST(QuotaLeaseTest, OthersHearOfARefusalWithinASecond) {
  QuotaBook book;
  const RateLimit limit{.requests_per_minute = 6000};
  Worker a("a", limit), b("b", limit);
  a.Send(&book, kNow, kNow + absl::Seconds(1));
  b.Send(&book, kNow + absl::Seconds(1), kNow + absl::Seconds(2));
  const Moment refused = kNow + absl::Seconds(2);
  a.lease.Tell({.refused = absl::Seconds(30)}, refused);
  EXPECT_LE(a.lease.NextAsk(refused), refused + absl::Milliseconds(50));
  a.Ask(&book, refused + absl::Milliseconds(50));
  EXPECT_EQ(a.Send(&book, refused + absl::Milliseconds(50), refused + absl::Milliseconds(500)), 0);
  b.Send(&book, refused + absl::Milliseconds(50), refused + absl::Seconds(1));
  EXPECT_EQ(b.Send(&book, refused + absl::Seconds(1), refused + absl::Seconds(29)), 0);
  EXPECT_GT(b.Send(&book, refused + absl::Seconds(30), refused + absl::Seconds(31)), 0);
  EXPECT_NEAR(b.lease.limit().requests_per_minute, 6000, 1) << "half a minute has passed: it has risen again";
}

TEST(QuotaLeaseTest, OthersHearOfALimitThatTheProviderNames) {
  QuotaBook book;
  Worker a("a", {}), b("b", {});
  a.Ask(&book, kNow);
  b.Ask(&book, kNow);
  EXPECT_EQ(a.lease.TryStart(10, kNow), kNow) << "nobody knows of a limit";
  a.lease.Tell({.requests_per_minute = 600}, kNow);
  EXPECT_LE(a.lease.NextAsk(kNow), kNow + absl::Milliseconds(50));
  a.Ask(&book, kNow + absl::Milliseconds(50));
  ASSERT_LE(b.lease.NextAsk(kNow), kNow + absl::Milliseconds(500));
  b.Ask(&book, kNow + absl::Milliseconds(500));
  EXPECT_EQ(b.lease.limit().requests_per_minute, 600);
  EXPECT_LE(b.Send(&book, kNow + absl::Seconds(1), kNow + absl::Seconds(2)), 13);
}

TEST(QuotaLeaseTest, GoesOnWithItsShareWhileTheServerIsAway) {
  QuotaBook book;
  const RateLimit limit{.requests_per_minute = 6000};
  Worker a("a", limit), b("b", limit), c("c", limit), d("d", limit);
  for (Worker* const worker : {&a, &b, &c, &d, &a}) worker->Ask(&book, kNow);
  EXPECT_EQ(a.lease.workers(), 4);
  const Moment away = kNow + absl::Seconds(1);
  const int sent = a.Send(nullptr, away, away + absl::Seconds(10));
  EXPECT_TRUE(a.lease.alone());
  EXPECT_NEAR(sent, 250, 15) << "a quarter of 100 requests a second";
  // Back again: the first waits for the others, who may still be on their own.
  const Moment back = away + absl::Seconds(10);
  EXPECT_LE(a.Send(&book, back, back + absl::Milliseconds(900)), 25);
  EXPECT_FALSE(a.lease.alone());
  EXPECT_GE(a.Send(&book, back + absl::Seconds(2), back + absl::Seconds(3)), 90);
}

TEST(QuotaLeaseTest, WhoeverDiesLosesHisLeaseOnly) {
  QuotaBook book;
  const RateLimit limit{.requests_per_minute = 6000};
  Worker a("a", limit), b("b", limit);
  a.Send(&book, kNow, kNow + absl::Seconds(1));
  b.Send(&book, kNow, kNow + absl::Seconds(1));
  // From now on `a` is dead.
  EXPECT_GE(b.Send(&book, kNow + absl::Seconds(2), kNow + absl::Seconds(12)), 970);
  b.Ask(&book, kNow + absl::Seconds(12));
  EXPECT_EQ(b.lease.workers(), 1);
}

TEST(QuotaLeaseTest, WhatIsLeftComesBackWithTheLastAsk) {
  QuotaBook book;
  Worker a("a", {.requests_per_minute = 6000});
  a.lease.TryStart(10, kNow);
  const QuotaGrant grant = a.Ask(&book, kNow);
  ASSERT_GT(grant.requests, 1);
  const QuotaAsk last = a.lease.Leave(kNow + absl::Milliseconds(10));
  EXPECT_TRUE(last.leaves);
  EXPECT_EQ(last.requests_back, grant.requests);
  EXPECT_EQ(last.requests, 0);
}

TEST(QuotaBookTest, ALimitThatNoUserGivesAnyMoreIsForgotten) {
  QuotaBook book;
  const auto rate = [&](const char* worker, double given, int64_t at, bool leaves = false) {
    return book
        .Ask({.worker = worker, .given = {.requests_per_minute = given}, .leaves = leaves}, kClock + at * 1'000'000)
        .limit.requests_per_minute;
  };
  EXPECT_EQ(rate("narrow", 60, 0), 60);
  EXPECT_EQ(rate("wide", 6000, 1), 60);
  EXPECT_EQ(rate("narrow", 60, 5, /*leaves=*/true), 60);
  for (int64_t second = 6; second < 15; ++second) EXPECT_EQ(rate("wide", 6000, second), 60) << "it may come back";
  EXPECT_EQ(rate("wide", 6000, 15), 6000);
  // The next one is there while all are.
  EXPECT_EQ(rate("narrow", 60, 16), 60);
  // When the last one has left nobody has to wait.
  EXPECT_EQ(rate("wide", 6000, 17, /*leaves=*/true), 60);
  EXPECT_EQ(rate("narrow", 60, 18, /*leaves=*/true), 60);
  EXPECT_EQ(rate("wide", 6000, 19), 6000);
}

TEST(QuotaBookTest, MoneyIsCountedOverAllAccounts) {
  QuotaBook book;
  const auto ask = [&](const char* account, int64_t spent, int64_t wanted) {
    return book.Ask(
        {.worker = account, .account = account, .money_spent = spent, .money_wanted = wanted, .money_cap = 1000},
        kClock);
  };
  EXPECT_EQ(ask("a", 0, 600).money, 600);
  EXPECT_EQ(ask("b", 0, 600).money, 400) << "what is left";
  EXPECT_EQ(ask("b", 0, 600).money_left, 0);
  EXPECT_EQ(ask("a", 100, 100).money, 100) << "gives back what it does not need";
  EXPECT_EQ(ask("b", 300, 900).money, 900);
  EXPECT_EQ(ask("a", 150, 200).money, 150) << "spent is spent";
  EXPECT_EQ(ask("a", 150, 200).money_left, 0);
}

// What a RateLimiter makes of it.
class Noted final : public SharedQuota {
 public:
  Moment TryStart(int64_t tokens, Moment now) override {
    asked += tokens;
    return allows ? now : now + absl::Seconds(1);
  }
  Moment NextStart(int64_t, Moment now) const override { return allows ? now : now + absl::Seconds(1); }
  void Tell(const QuotaNews& news, Moment) override {
    tokens_back += news.tokens_back;
    refused = std::max(refused, news.refused);
    if (news.requests_per_minute > 0) requests_per_minute = news.requests_per_minute;
  }
  RateLimit limit() const override { return {.requests_per_minute = 77, .tokens_per_minute = 88}; }

  bool allows = true;
  int64_t asked = 0, tokens_back = 0;
  double requests_per_minute = 0;
  absl::Duration refused;
};

TEST(SharedQuotaTest, ALimiterThatHasOneAsksIt) {
  Noted quota;
  RateLimiter limiter({.requests_per_minute = 60}, &quota);
  Departure departure;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(limiter.TryStart(5, kNow, &departure), kNow);
  EXPECT_EQ(quota.asked, 500);
  EXPECT_EQ(limiter.requests_per_minute(), 77);
  EXPECT_EQ(limiter.tokens_per_minute(), 88);
  quota.allows = false;
  EXPECT_EQ(limiter.TryStart(5, kNow, &departure), kNow + absl::Seconds(1));
  EXPECT_EQ(limiter.NextStart(5, kNow), kNow + absl::Seconds(1));
  limiter.Correct(30, 10);
  EXPECT_EQ(quota.tokens_back, 20);
  limiter.Learn({.limit_requests = 50, .remaining_requests = 0}, departure, kNow);
  EXPECT_EQ(quota.requests_per_minute, 50);
}

TEST(SharedQuotaTest, ARefusalIsToldAndPausesAtOnce) {
  Noted quota;
  RateLimiter limiter({.requests_per_minute = 60}, &quota);
  Departure departure;
  limiter.TryStart(5, kNow, &departure);
  limiter.Refused(departure, absl::Seconds(7), /*wait_is_named=*/true, kNow + absl::Seconds(1));
  EXPECT_EQ(quota.refused, absl::Seconds(7));
  const int64_t asked = quota.asked;
  EXPECT_EQ(limiter.TryStart(5, kNow + absl::Seconds(2), &departure), kNow + absl::Seconds(8));
  EXPECT_EQ(quota.asked, asked) << "nothing is taken during a pause";
  // All lower the rate together; nobody does it once more by himself.
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(limiter.TryStart(5, kNow + absl::Seconds(9), &departure), kNow + absl::Seconds(9));
  }
}

}  // namespace
}  // namespace reembed
