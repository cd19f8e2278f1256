// SPDX-License-Identifier: Apache-2.0
// A thousand workers on one quota, on a clock of the test's own: every worker has a QuotaLease, the server is a
// QuotaBook, and the provider counts as the embedding server of this project does. Nothing sleeps.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/pace/quota_book.h"
#include "engine/pace/quota_lease.h"
#include "gtest/gtest.h"
#include "io/embed/embedding_server_quota.h"

namespace reembed {
namespace {

struct World {
  int workers = 1000;
  double rpm = 24'000;
  double tpm = 0;
  int64_t tokens = 500;  // of a request, half to one and a half times
  absl::Duration length = absl::Minutes(2);
  absl::Duration provider_window = absl::Seconds(2);
  double slow_share = 0;                       // of the workers: one request at a time, and that takes long
  absl::Duration away_from, away_to;           // of the quota's server: nothing is answered
  bool loses_memory = false;                   // when it comes back
  absl::Duration most_skew = absl::Hours(24);  // of each worker's clock
  double most_drift = 1e-4;
  bool shared = true;     // false: each worker paces itself by the whole quota
  int requests_each = 0;  // of a worker, behind a probe and a check of the model, which are small; 0: without an end
};

struct Result {
  double used = 0;           // of the quota
  double refused = 0;        // of the requests
  double fairness = 0;       // Jain's index of the workers that are not slow: 1 is equal
  double asks_a_second = 0;  // of one worker
  double of_whole = 0;       // used from the first start to the last answer, where there is an end
};

class Simulation {
 public:
  Simulation(const World& world, uint64_t seed)
      : world_(world),
        random_(seed),
        provider_({.requests_per_minute = world.rpm, .tokens_per_minute = world.tpm, .window = world.provider_window}) {
    for (int i = 0; i < world.workers; ++i) {
      auto worker = std::make_unique<Worker>();
      worker->offset = Uniform() * world.most_skew;
      worker->rate = 1 + (2 * Uniform() - 1) * world.most_drift;
      worker->slow = i < world.slow_share * world.workers;
      worker->concurrency = worker->slow ? 1 : 64;
      worker->round_trip = absl::Milliseconds(1 + 20 * Uniform());
      worker->latency = worker->slow ? absl::Seconds(8) : absl::Milliseconds(100 + 300 * Uniform());
      worker->lease = std::make_unique<QuotaLease>(
          absl::StrCat("worker", i), RateLimit{.requests_per_minute = world.rpm, .tokens_per_minute = world.tpm},
          random_());
      workers_.push_back(std::move(worker));
    }
  }

  Result Run() {
    absl::Duration started;
    for (auto& worker : workers_) {
      Worker* const w = worker.get();
      At(world_.requests_each > 0 ? started : Uniform() * absl::Seconds(1), [this, w] { Look(w); });
      started += absl::Milliseconds(10);  // one process after the other
    }
    while (!events_.empty() && events_.top().at < world_.length) {
      Event event = events_.top();
      events_.pop();
      now_ = event.at;
      event.run();
    }
    Result result;
    if (world_.requests_each > 0) {
      result.of_whole = static_cast<double>(all_tokens_) / (world_.tpm / 60 * absl::ToDoubleSeconds(last_answer_));
    }
    const double seconds = absl::ToDoubleSeconds(world_.length - kWarmUp);
    if (world_.rpm > 0)
      result.used = std::max(result.used, static_cast<double>(admitted_) / (world_.rpm / 60 * seconds));
    if (world_.tpm > 0) {
      result.used = std::max(result.used, static_cast<double>(admitted_tokens_) / (world_.tpm / 60 * seconds));
    }
    result.refused = static_cast<double>(refused_) / static_cast<double>(std::max<int64_t>(1, admitted_ + refused_));
    double sum = 0, squares = 0;
    int count = 0;
    for (const auto& worker : workers_) {
      if (worker->slow) continue;
      sum += worker->done;
      squares += worker->done * worker->done;
      ++count;
    }
    result.fairness = sum * sum / (count * squares);
    result.asks_a_second = static_cast<double>(asks_) / absl::ToDoubleSeconds(world_.length) / world_.workers;
    return result;
  }

 private:
  static constexpr absl::Duration kWarmUp = absl::Seconds(5);
  static constexpr int64_t kServerClock = 1'700'000'000'000'000;
  static constexpr int kSmall = 2;

  struct Event {
    absl::Duration at;
    int64_t order;
    std::function<void()> run;
    bool operator<(const Event& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  struct Worker {
    absl::Duration offset;
    double rate = 1;
    bool slow = false;
    int concurrency = 0;
    absl::Duration round_trip, latency;
    std::unique_ptr<QuotaLease> lease;
    int in_air = 0;
    int64_t next_tokens = 0;
    int sent = 0, answered = 0;
    bool has_left = false;
    absl::Duration looks_at = absl::InfiniteDuration();
    double done = 0;
    Moment paused_until;

    Moment Clock(absl::Duration now) const { return offset + now * rate; }
  };

  double Uniform() { return static_cast<double>(random_() >> 11) / (uint64_t{1} << 53); }
  void At(absl::Duration at, std::function<void()> run) { events_.push({at, ++order_, std::move(run)}); }
  bool Away() const { return now_ >= world_.away_from && now_ < world_.away_to; }

  // What RequestFlow and the thread of a worker do: start what may start, ask when it is time, look again.
  void Look(Worker* w) {
    if (w->has_left) return;
    if (w->looks_at < now_) w->looks_at = absl::InfiniteDuration();
    const Moment clock = w->Clock(now_);
    Moment next = clock + absl::Milliseconds(250);
    while (w->in_air < w->concurrency) {
      if (world_.requests_each > 0) {
        if (w->sent == kSmall + world_.requests_each) break;
        // Nothing else leaves before they are answered.
        if (w->sent <= kSmall && w->answered < w->sent) break;
      }
      if (w->next_tokens == 0) w->next_tokens = static_cast<int64_t>(world_.tokens * (0.5 + Uniform()));
      if (world_.requests_each > 0 && w->sent < kSmall) w->next_tokens = 16 + 64 * w->sent;
      if (w->paused_until > clock) {
        next = std::min(next, w->paused_until);
        break;
      }
      const Moment start = world_.shared ? w->lease->TryStart(w->next_tokens, clock) : clock;
      if (start > clock) {
        next = std::min(next, start);
        break;
      }
      Send(w, std::exchange(w->next_tokens, 0));
    }
    if (world_.shared && w->lease->NextAsk(clock) <= clock) Ask(w);
    if (world_.shared) next = std::min(next, std::max(clock, w->lease->NextAsk(clock)));
    LookAt(w, now_ + std::max((next - clock) / w->rate, absl::Microseconds(100)));
  }
  void LookAt(Worker* w, absl::Duration at) {
    if (w->looks_at <= at) return;
    w->looks_at = at;
    At(at, [this, w, at] {
      if (w->looks_at != at) return;
      w->looks_at = absl::InfiniteDuration();
      Look(w);
    });
  }

  void Ask(Worker* w) {
    ++asks_;
    const QuotaAsk ask = w->lease->Ask(w->Clock(now_));
    At(now_ + w->round_trip / 2, [this, w, ask] {
      if (Away()) {
        lost_ |= world_.loses_memory;
        At(now_ + absl::Milliseconds(500), [this, w] {
          w->lease->Failed(w->Clock(now_));
          LookAt(w, now_);
        });
        return;
      }
      if (std::exchange(lost_, false)) book_ = QuotaBook();
      const QuotaGrant grant = book_.Ask(ask, kServerClock + absl::ToInt64Microseconds(now_));
      At(now_ + w->round_trip / 2, [this, w, grant] {
        w->lease->Answered(grant, w->Clock(now_));
        LookAt(w, now_);
      });
    });
  }

  void Leave(Worker* w) {
    const QuotaAsk ask = w->lease->Leave(w->Clock(now_));
    w->has_left = true;
    At(now_ + w->round_trip / 2, [this, ask] { book_.Ask(ask, kServerClock + absl::ToInt64Microseconds(now_)); });
  }

  void Send(Worker* w, int64_t tokens) {
    ++w->in_air;
    ++w->sent;
    At(now_ + absl::Milliseconds(5 + 30 * Uniform()), [this, w, tokens] {
      std::vector<std::pair<std::string, std::string>> headers;
      const bool refused = provider_.Admit("m", tokens, now_, &headers).status != 0;
      if (now_ >= kWarmUp) {
        (refused ? refused_ : admitted_) += 1;
        admitted_tokens_ += refused ? 0 : tokens;
      }
      At(now_ + w->latency * (0.5 + Uniform()), [this, w, tokens, refused] {
        --w->in_air;
        ++w->answered;
        if (world_.requests_each > 0) {
          all_tokens_ += tokens;
          last_answer_ = now_;
          if (w->answered == kSmall + world_.requests_each) Leave(w);
        }
        if (refused) {
          const Moment clock = w->Clock(now_);
          w->paused_until = clock + absl::Milliseconds(500);
          if (world_.shared) w->lease->Tell({.refused = absl::Milliseconds(500)}, clock);
        } else if (now_ >= kWarmUp) {
          ++w->done;
        }
        LookAt(w, now_);
      });
    });
  }

  const World world_;
  std::mt19937_64 random_;
  EmbeddingServerQuota provider_;
  QuotaBook book_;
  bool lost_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::priority_queue<Event> events_;
  absl::Duration now_;
  int64_t order_ = 0, asks_ = 0;
  int64_t admitted_ = 0, admitted_tokens_ = 0, refused_ = 0;
  int64_t all_tokens_ = 0;
  absl::Duration last_answer_;
};

Result Simulate(const std::string& what, const World& world) {
  const uint64_t seed = 20261129;
  const Result result = Simulation(world, seed).Run();
  std::cout << what << " (seed " << seed << "): used " << result.used << ", refused " << result.refused << ", fairness "
            << result.fairness << ", asks a second and worker " << result.asks_a_second << "\n";
  return result;
}

TEST(QuotaSimulationTest, AThousandWorkersUseOneQuotaOfRequests) {
  const Result result = Simulate("1,000 workers", {});
  EXPECT_GE(result.used, 0.97);
  EXPECT_LE(result.refused, 0.001);
  EXPECT_GE(result.fairness, 0.98);
  EXPECT_LE(result.asks_a_second, 5);
}

TEST(QuotaSimulationTest, ManyWorkersUseOneQuotaOfTokens) {
  const Result result = Simulate("200 workers, tokens", {.workers = 200, .rpm = 30'000, .tpm = 6'000'000});
  EXPECT_GE(result.used, 0.97);
  EXPECT_LE(result.refused, 0.001);
  EXPECT_GE(result.fairness, 0.98);
}

TEST(QuotaSimulationTest, AQuotaOfLessThanARequestForEachInAMinute) {
  const Result result =
      Simulate("100 workers, 60 requests a minute", {.workers = 100, .rpm = 60, .length = absl::Minutes(20)});
  EXPECT_GE(result.used, 0.97);
  EXPECT_LE(result.refused, 0.001);
  EXPECT_GE(result.fairness, 0.98);
}

TEST(QuotaSimulationTest, FewAndManyWorkers) {
  for (const int workers : {1, 2, 4, 16, 32, 200}) {
    const Result result =
        Simulate(absl::StrCat(workers, " workers"), {.workers = workers, .rpm = 6000, .length = absl::Minutes(2)});
    EXPECT_GE(result.used, 0.97) << workers;
    EXPECT_LE(result.refused, 0.001) << workers;
    EXPECT_GE(result.fairness, 0.98) << workers;
    EXPECT_LE(result.asks_a_second, 12) << workers;
  }
}

// A third of them cannot use their part: the others do.
TEST(QuotaSimulationTest, SlowWorkersLeaveTheirPartToOthers) {
  const Result result = Simulate("66 of 200 workers slow", {.workers = 200, .rpm = 12'000, .slow_share = 0.333});
  EXPECT_GE(result.used, 0.97);
  EXPECT_LE(result.refused, 0.001);
  EXPECT_GE(result.fairness, 0.98);
}

TEST(QuotaSimulationTest, TheServerIsAwayForAMinute) {
  for (const bool loses_memory : {false, true}) {
    const Result result = Simulate(
        loses_memory ? "200 workers, 5 s without server, and it forgets" : "200 workers, a minute without server",
        {.workers = 200,
         .rpm = 12'000,
         .length = absl::Minutes(5),
         .away_from = absl::Minutes(2),
         .away_to = absl::Minutes(2) + (loses_memory ? absl::Seconds(5) : absl::Minutes(1)),
         .loses_memory = loses_memory});
    EXPECT_GE(result.used, 0.97);
    EXPECT_LE(result.refused, 0.001);
    EXPECT_GE(result.fairness, 0.98);
  }
}

TEST(QuotaSimulationTest, AThousandWorkersOfWhichSomeAreSlowWithSkewAndAnOutage) {
  const Result result = Simulate("all together", {.tpm = 14'400'000,
                                                  .length = absl::Minutes(5),
                                                  .slow_share = 0.1,
                                                  .away_from = absl::Minutes(2),
                                                  .away_to = absl::Minutes(3),
                                                  .loses_memory = true});
  EXPECT_GE(result.used, 0.97);
  EXPECT_LE(result.refused, 0.001);
  EXPECT_GE(result.fairness, 0.98);
}

// A job of 40 s: neither its beginning nor its end may cost much. What is granted to those who have no use for it
// would.
TEST(QuotaSimulationTest, AShortJobUsesTheQuotaFromItsBeginningToItsEnd) {
  for (const int workers : {1, 4, 16, 32}) {
    World world{.workers = workers,
                .rpm = 6000,
                .tpm = 600'000,
                .tokens = 720,
                .requests_each = 40 * 600'000 / 60 / 720 / workers};
    const Result result = Simulate(absl::StrCat(workers, " workers, 40 s"), world);
    std::cout << "  from the first to the last: " << result.of_whole << "\n";
    EXPECT_GE(result.of_whole, 0.97) << workers;
    EXPECT_EQ(result.refused, 0) << workers;
  }
}

// That the figures above mean something: without sharing the provider refuses most.
TEST(QuotaSimulationTest, WithoutSharingMostIsRefused) {
  const Result result =
      Simulate("16 workers without sharing", {.workers = 16, .rpm = 6000, .length = absl::Minutes(1), .shared = false});
  EXPECT_GT(result.refused, 0.1);
}

}  // namespace
}  // namespace reembed
