// SPDX-License-Identifier: Apache-2.0
#include "io/share/worker_quota.h"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "engine/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/valkey_server.h"

namespace reembed {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr absl::Duration kLongest = absl::Seconds(60);  // a test that waits for more has failed

class Notes {
 public:
  std::function<void(const std::string&)> Taker() {
    return [this](const std::string& note) {
      const MutexLock lock(&mutex_);
      notes_.push_back(note);
    };
  }
  std::vector<std::string> all() const {
    const MutexLock lock(&mutex_);
    return notes_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::string> notes_ ABSL_GUARDED_BY(mutex_);
};

// Looks until it is so; false: it has not come about.
template <typename Condition>
bool Becomes(const Condition& condition) {
  const Moment end = MonotonicNow() + kLongest;
  while (!condition()) {
    if (MonotonicNow() > end) return false;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return true;
}

std::unique_ptr<WorkerQuota> Start(const ValkeyServer& server, const RateLimit& limit, Notes* notes = nullptr,
                                   SpendCap* spend = nullptr, const std::string& account = "") {
  absl::StatusOr<std::unique_ptr<WorkerQuota>> quota =
      WorkerQuota::Start({.address = server.At("k"),
                          .limit = limit,
                          .spend = spend,
                          .account = account,
                          .note = notes == nullptr ? nullptr : notes->Taker()});
  EXPECT_THAT(quota, IsOk());
  return quota.ok() ? *std::move(quota) : nullptr;
}

bool MaySend(WorkerQuota* quota) {
  const Moment now = MonotonicNow();
  return quota->TryStart(10, now) <= now;
}

// How many requests leave until `end`.
int Send(WorkerQuota* quota, Moment end) {
  int sent = 0;
  for (Moment now = MonotonicNow(); now < end; now = MonotonicNow()) {
    if (quota->TryStart(10, now) <= now) {
      ++sent;
    } else {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
  return sent;
}

TEST(WorkerQuotaTest, TwoWorkersTogetherUseWhatOneMay) {
  const ValkeyServer server;
  const RateLimit limit{.requests_per_minute = 60'000};
  const auto a = Start(server, limit), b = Start(server, limit);
  const Moment start = MonotonicNow();
  int sent = 0;
  Moment now = start;
  for (; now < start + absl::Seconds(3); now = MonotonicNow()) {
    const bool of_a = a->TryStart(10, now) <= now, of_b = b->TryStart(10, now) <= now;
    sent += of_a ? 1 : 0;
    sent += of_b ? 1 : 0;
    if (!of_a && !of_b) absl::SleepFor(absl::Milliseconds(1));
  }
  // Whatever the machine does meanwhile, no more than the rate and what may be saved up, and the leases of the two.
  EXPECT_LE(sent, absl::ToDoubleSeconds(now - start) * 1000 + 2 * 250 + 250);
  EXPECT_GE(sent, 500);
  EXPECT_EQ(a->workers(), 2);
}

TEST(WorkerQuotaTest, OneMeetsARefusalAndAllPause) {
  const ValkeyServer server;
  const RateLimit limit{.requests_per_minute = 6000};
  const auto a = Start(server, limit), b = Start(server, limit);
  ASSERT_TRUE(Becomes([&] { return MaySend(b.get()); }));
  a->Tell({.refused = absl::Minutes(10)}, MonotonicNow());
  // It wants nothing, and hears of it all the same.
  EXPECT_TRUE(Becomes([&] { return b->NextStart(10, MonotonicNow()) > MonotonicNow() + absl::Minutes(5); }));
}

TEST(WorkerQuotaTest, OneLearnsALimitAndAllKeepIt) {
  const ValkeyServer server;
  const auto a = Start(server, {}), b = Start(server, {});
  a->Tell({.requests_per_minute = 300, .tokens_per_minute = 7000}, MonotonicNow());
  EXPECT_TRUE(Becomes([&] { return b->limit().requests_per_minute == 300 && b->limit().tokens_per_minute == 7000; }));
}

TEST(WorkerQuotaTest, GoesOnWithItsShareAndSaysSo) {
  ValkeyServer server;
  Notes notes;
  const RateLimit limit{.requests_per_minute = 60'000};
  const auto a = Start(server, limit), b = Start(server, limit, &notes);
  ASSERT_TRUE(Becomes([&] { return a->workers() == 2 && b->workers() == 2; }));
  server.Stop();
  ASSERT_TRUE(Becomes([&] { return !notes.all().empty(); }));
  EXPECT_THAT(notes.all(), Contains(HasSubstr("continues with its safe share, one of 2 parts of the quota")));
  const Moment start = MonotonicNow();
  const int sent = Send(b.get(), start + absl::Seconds(2));
  EXPECT_LE(sent, absl::ToDoubleSeconds(MonotonicNow() - start) * 500 + 500);
  EXPECT_GE(sent, 100);
  server.Start();
  EXPECT_TRUE(Becomes([&] { return notes.all().size() > 1; }));
  EXPECT_THAT(notes.all(), Contains(HasSubstr("the quota is shared again")));
  EXPECT_TRUE(Becomes([&] { return Send(b.get(), MonotonicNow() + absl::Milliseconds(50)) > 0; }));
}

// A server that is there and says nothing holds nobody up.
TEST(WorkerQuotaTest, AFrozenServerIsAway) {
  ValkeyServer server;
  Notes notes;
  const auto a = Start(server, {.requests_per_minute = 60'000}, &notes);
  server.Freeze();
  EXPECT_TRUE(Becomes([&] { return !notes.all().empty(); }));
  EXPECT_GT(Send(a.get(), MonotonicNow() + absl::Seconds(1)), 0);
  server.Thaw();
  EXPECT_TRUE(Becomes([&] { return notes.all().size() > 1; }));
}

TEST(WorkerQuotaTest, WhoeverLeavesIsNotCountedAnyMore) {
  const ValkeyServer server;
  const RateLimit limit{.requests_per_minute = 6000};
  auto a = Start(server, limit);
  const auto b = Start(server, limit);
  ASSERT_TRUE(Becomes([&] { return a->workers() == 2; }));
  a.reset();
  EXPECT_EQ(server.Ask({"ZCARD", "reembed:quota:{k}:workers"}), "1");
}

TEST(WorkerQuotaTest, TheMoneyOfTwoJobsIsOne) {
  const ValkeyServer server;
  constexpr double kCap = 0.01;
  SpendCap first({.usd_per_token = 1e-6, .cap_usd = kCap}), second({.usd_per_token = 1e-6, .cap_usd = kCap});
  auto a = Start(server, {}, nullptr, &first, "a");
  auto b = Start(server, {}, nullptr, &second, "b");
  // Both spend as long as they may, in turns.
  const auto spend = [](SpendCap* cap) {
    SpendHold hold;
    const SpendCap::Answer answer = cap->Take(100, &hold);
    if (answer == SpendCap::Answer::kTaken) hold.Leave();  // and is never answered: counts as its estimate
    return answer;
  };
  const Moment end = MonotonicNow() + kLongest;
  bool first_may = true, second_may = true;
  while ((first_may || second_may) && MonotonicNow() < end) {
    if (first_may) first_may = spend(&first) != SpendCap::Answer::kNever;
    if (second_may) second_may = spend(&second) != SpendCap::Answer::kNever;
    absl::SleepFor(absl::Microseconds(200));
  }
  EXPECT_FALSE(first_may || second_may);
  EXPECT_LE(first.spent_usd() + second.spent_usd(), kCap * (1 + 1e-9));
  EXPECT_GE(first.spent_usd() + second.spent_usd(), kCap * 0.95);
  EXPECT_GT(first.spent_usd(), 0);
  EXPECT_GT(second.spent_usd(), 0);
  EXPECT_THAT(std::string(second.Reached().message()), HasSubstr("the cap of $"));
}

}  // namespace
}  // namespace reembed
