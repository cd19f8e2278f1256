// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/pacer.h"

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

constexpr Moment kStart = absl::Hours(1000);
constexpr int64_t kTokens = 100;

// A client with as many requests as it wants and a server, both on a clock of their own. Failed requests wait for
// their backoff and go again, as RequestFlow does it.
class Simulation {
 public:
  struct Answer {
    SendOutcome outcome = SendOutcome::kOk;
    absl::Duration after = absl::Milliseconds(200);
    std::optional<absl::Duration> retry_after;
  };
  using Server = std::function<Answer(Moment now)>;

  Simulation(const PacerOptions& options, Server server)
      : options_(options), pacer_(options), server_(std::move(server)) {}

  void RunUntil(Moment end) {
    for (;;) {
      Moment ask_again = absl::InfiniteDuration();
      while (Leave(&ask_again)) {
      }
      const Moment answer = in_air_.empty() ? absl::InfiniteDuration() : in_air_.begin()->first;
      const Moment next = std::min(answer, ask_again);
      ASSERT_LT(next, absl::InfiniteDuration()) << "nothing will ever happen again";
      if (next > end) break;
      now_ = std::max(now_, next);
      if (answer <= now_) TakeAnswer();
    }
    now_ = end;
  }

  // Requests that left in [from, from + time).
  int Left(Moment from, absl::Duration time) const {
    return static_cast<int>(
        std::count_if(left_.begin(), left_.end(), [&](Moment at) { return at >= from && at < from + time; }));
  }

  Pacer& pacer() { return pacer_; }
  int waiting() const { return static_cast<int>(retries_.size() + held_back_.size()); }
  int ok = 0, failed = 0, refused = 0, first = 0, again = 0;

 private:
  struct Sent {
    Departure departure;
    SendOutcome outcome;
    std::optional<absl::Duration> retry_after;
    int attempts;
  };
  struct Waiting {
    int attempts;
    Moment failed_at;
  };

  bool Leave(Moment* ask_again) {
    Departure departure;
    if (!retries_.empty()) {
      const auto it = retries_.begin();
      const Moment ready = pacer_.probing() ? now_ : it->first;
      const Moment start = ready > now_ ? ready : pacer_.TryStart(SendReason::kFailed, kTokens, now_, &departure);
      if (start <= now_) {
        ++again;
        const int attempts = it->second.attempts;
        retries_.erase(it);
        Send(departure, attempts);
        return true;
      }
      *ask_again = std::min(*ask_again, start);
    }
    if (!held_back_.empty()) {
      const Moment start = pacer_.TryStart(SendReason::kRefused, kTokens, now_, &departure);
      *ask_again = std::min(*ask_again, start);
      if (start > now_) return false;
      const int attempts = held_back_.back();
      held_back_.pop_back();
      Send(departure, attempts);
      return true;
    }
    // As in the pipeline, a fixed number of batches goes round.
    if (static_cast<int>(retries_.size() + in_air_.size()) >= options_.concurrency * 3 / 2) return false;
    const Moment start = pacer_.TryStart(SendReason::kFirst, kTokens, now_, &departure);
    *ask_again = std::min(*ask_again, start);
    if (start > now_) return false;
    ++first;
    Send(departure, 0);
    return true;
  }

  void Send(const Departure& departure, int attempts) {
    left_.push_back(now_);
    const Answer answer = server_(now_);
    in_air_.emplace(now_ + answer.after, Sent{.departure = departure,
                                              .outcome = answer.outcome,
                                              .retry_after = answer.retry_after,
                                              .attempts = attempts + 1});
  }

  void TakeAnswer() {
    const Sent sent = in_air_.begin()->second;
    in_air_.erase(in_air_.begin());
    const bool is_refused = sent.outcome == SendOutcome::kRefused;
    ok += sent.outcome == SendOutcome::kOk;
    failed += sent.outcome == SendOutcome::kFailed;
    refused += is_refused;
    const absl::Duration backoff = Backoff(options_.retry, sent.attempts, &random_);
    if (is_refused)
      pacer_.Refused(sent.departure, sent.retry_after.value_or(backoff), sent.retry_after.has_value(), now_);
    const Pacer::Change change = pacer_.Ended(sent.departure, sent.outcome, now_);
    if (change.outage_ended) {
      std::multimap<Moment, Waiting> others;
      for (const auto& [ready, waiting] : retries_) {
        if (waiting.failed_at >= change.outage_began) {
          held_back_.push_back(waiting.attempts);
        } else {
          others.emplace(std::min(ready, now_), waiting);
        }
      }
      retries_ = std::move(others);
    }
    if (sent.outcome == SendOutcome::kOk) return;
    if (is_refused) {
      held_back_.push_back(sent.attempts);
    } else {
      retries_.emplace(now_ + backoff, Waiting{sent.attempts, now_});
    }
  }

  const PacerOptions options_;
  Pacer pacer_;
  const Server server_;
  std::mt19937_64 random_{7};
  Moment now_ = kStart;
  std::multimap<Moment, Sent> in_air_;
  std::multimap<Moment, Waiting> retries_;
  std::vector<int> held_back_;  // attempts of those that may go again for nothing
  std::vector<Moment> left_;
};

TEST(PacerTest, OutageCostsAProbeASecondAndEndsForEverybody) {
  for (const absl::Duration failing_takes : {absl::Milliseconds(1), absl::Milliseconds(300)}) {
    SCOPED_TRACE(absl::StrCat("failures take ", absl::FormatDuration(failing_takes)));
    const Moment down = kStart + absl::Seconds(20), up = kStart + absl::Seconds(80);
    Simulation simulation({.concurrency = 64}, [&](Moment now) -> Simulation::Answer {
      if (now < down || now >= up) return {};
      return {.outcome = SendOutcome::kFailed, .after = failing_takes};
    });
    simulation.RunUntil(up + absl::Seconds(20));
    const double rate = simulation.Left(down - absl::Seconds(5), absl::Seconds(5)) / 5.0;
    EXPECT_NEAR(rate, 320, 10);
    EXPECT_LE(simulation.Left(down + absl::Seconds(2), absl::Seconds(58)), 65);
    EXPECT_GE(simulation.Left(up + absl::Seconds(3), absl::Seconds(5)), 0.95 * rate * 5);
    EXPECT_LE(simulation.again, 0.1 * simulation.first + 10 + 65);  // and the probes
  }
}

TEST(PacerTest, FailuresNeverAddMoreThanATenthToTheLoad) {
  for (const double share : {0.02, 0.08, 0.25, 0.6, 0.9}) {
    SCOPED_TRACE(absl::StrCat("share of failures ", share));
    const absl::Duration time = absl::Minutes(30);
    std::mt19937 random(3);
    Simulation simulation({.concurrency = 16}, [&](Moment) -> Simulation::Answer {
      const bool fails = std::uniform_real_distribution<double>(0, 1)(random) < share;
      return {.outcome = fails ? SendOutcome::kFailed : SendOutcome::kOk, .after = absl::Milliseconds(50)};
    });
    simulation.RunUntil(kStart + time);
    // Beyond a tenth of what went well one goes every second, once the gaps have grown; and probes of what looks like
    // an outage (five failures in a row) one a second.
    const double outages = share < 0.5 ? 0 : absl::ToDoubleSeconds(time);
    EXPECT_LE(simulation.again, 0.1 * simulation.ok + 100 + absl::ToDoubleSeconds(time) + outages);
    if (share <= 0.08) {
      EXPECT_LE(simulation.waiting(), 24) << "what the budget covers should not pile up";
      EXPECT_NEAR(simulation.again, simulation.failed, 24);
    }
    EXPECT_GT(simulation.ok, 100);
    std::cout << "of 100 requests " << 100 * share << " fail: " << simulation.ok << " answered, " << simulation.again
              << " retries in " << absl::FormatDuration(time) << "\n";
  }
}

TEST(PacerTest, AfterABrownOutEverythingComesThroughAndTheRateIsBack) {
  const Moment bad = kStart + absl::Seconds(20), well = bad + absl::Minutes(10);
  std::mt19937 random(5);
  Simulation simulation({.concurrency = 16}, [&](Moment now) -> Simulation::Answer {
    const bool fails = now >= bad && now < well && std::uniform_real_distribution<double>(0, 1)(random) < 0.25;
    return {.outcome = fails ? SendOutcome::kFailed : SendOutcome::kOk, .after = absl::Milliseconds(50)};
  });
  simulation.RunUntil(well);
  EXPECT_GT(simulation.waiting(), 0);
  const int before = simulation.Left(bad - absl::Seconds(5), absl::Seconds(5));
  simulation.RunUntil(well + absl::Seconds(20));
  EXPECT_EQ(simulation.waiting(), 0);
  EXPECT_GE(simulation.Left(well + absl::Seconds(15), absl::Seconds(5)), 0.95 * before);
}

// A bucket that flows full evenly, as the provider has it.
struct Bucket {
  double per_second, capacity, level = capacity;
  Moment at = kStart;
  bool Take(Moment now) {
    level = std::min(capacity, level + per_second * absl::ToDoubleSeconds(now - at));
    at = now;
    if (level < 1) return false;
    level -= 1;
    return true;
  }
};

TEST(PacerTest, GivenQuotaIsUsedUpWithoutARefusal) {
  for (const double rpm : {3.0, 500.0, 5000.0}) {
    SCOPED_TRACE(absl::StrCat(rpm, " rpm"));
    Bucket bucket{.per_second = rpm / 60, .capacity = std::max(1.0, rpm / 60)};
    Simulation simulation({.limit = {.requests_per_minute = rpm}, .concurrency = 64},
                          [&](Moment now) -> Simulation::Answer {
                            return {.outcome = bucket.Take(now) ? SendOutcome::kOk : SendOutcome::kRefused};
                          });
    simulation.RunUntil(kStart + absl::Minutes(10));
    EXPECT_EQ(simulation.refused, 0);
    EXPECT_GE(simulation.ok, 0.99 * rpm * 10);
  }
}

TEST(PacerTest, AnOutageThatDoesNotEndIsGivenUp) {
  Simulation simulation({.concurrency = 8}, [](Moment now) -> Simulation::Answer {
    return {.outcome = now < kStart + absl::Seconds(10) ? SendOutcome::kOk : SendOutcome::kFailed};
  });
  simulation.RunUntil(kStart + absl::Minutes(9));
  EXPECT_FALSE(simulation.pacer().GivenUp(kStart + absl::Minutes(9)));
  simulation.RunUntil(kStart + absl::Minutes(11));
  EXPECT_TRUE(simulation.pacer().GivenUp(kStart + absl::Minutes(11)));
}

TEST(PacerTest, AMinuteInWhichNobodyWasThereGivesNoBurstAndNoOutage) {
  Pacer pacer({.limit = {.requests_per_minute = 600}, .concurrency = 64});
  Moment now = kStart;
  std::vector<Departure> in_air;
  for (int i = 0; i < 300; ++i, now += absl::Milliseconds(20)) {
    Departure departure;
    if (pacer.TryStart(SendReason::kFirst, 1, now, &departure) != now) continue;
    pacer.Ended(departure, SendOutcome::kOk, now + absl::Milliseconds(5));
  }
  for (int i = 0; i < 100; ++i, now += absl::Milliseconds(20)) {
    Departure departure;
    if (pacer.TryStart(SendReason::kFirst, 1, now, &departure) == now) in_air.push_back(departure);
  }
  ASSERT_GT(in_air.size(), 5u);
  // The process was stopped: what was in the air has taken too long.
  now += absl::Minutes(1);
  for (const Departure& departure : in_air) pacer.Ended(departure, SendOutcome::kFailed, now);
  EXPECT_FALSE(pacer.GivenUp(now));
  int sent = 0;
  for (const Moment end = now + absl::Seconds(1); now < end; now += absl::Milliseconds(5)) {
    for (Departure departure; pacer.TryStart(SendReason::kFirst, 1, now, &departure) == now;) {
      ++sent;
      pacer.Ended(departure, SendOutcome::kOk, now);
    }
  }
  EXPECT_GE(sent, 1);
  EXPECT_LE(sent, 12);  // of a second, and what a bucket holds
}

// The first answer, which may name a quota, is waited for all the same.
TEST(PacerTest, TheFirstAnswerLeadsToAQuarterOfWhatIsAllowed) {
  for (const auto& [most, behind] : {std::pair(1, 1), {4, 2}, {8, 2}, {16, 4}, {32, 8}, {1024, 8}}) {
    Pacer pacer({.concurrency = most});
    EXPECT_EQ(pacer.concurrency(), std::min(most, 2));
    Departure departure;
    ASSERT_EQ(pacer.TryStart(SendReason::kFirst, 1, kStart, &departure), kStart);
    pacer.Ended(departure, SendOutcome::kOk, kStart + absl::Seconds(0.2));
    EXPECT_EQ(pacer.concurrency(), behind) << most;
  }
}

TEST(PacerTest, HedgesAreFewAndOnlyWhileAllIsWell) {
  Pacer pacer({.concurrency = 1000});
  Moment now = kStart;
  int hedges = 0;
  for (int i = 0; i < 1000; ++i) {
    now += absl::Milliseconds(100);
    Departure departure, twin;
    ASSERT_EQ(pacer.TryStart(SendReason::kFirst, 1, now, &departure), now);
    if (pacer.TryStart(SendReason::kHedge, 1, now, &twin) == now) {
      ++hedges;
      pacer.Ended(twin, SendOutcome::kDropped, now);
    }
    pacer.Ended(departure, SendOutcome::kOk, now);
  }
  EXPECT_GE(hedges, 49);
  EXPECT_LE(hedges, 50);
}

}  // namespace
}  // namespace reembed
