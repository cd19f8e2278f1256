// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/simulation.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/pace/spend_cap.h"
#include "engine/pipeline.h"
#include "io/embed/api_client.h"
#include "io/embed/endpoint_pool.h"
#include "io/job/canary_file.h"
#include "io/job/job_store.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/virtual_threads.h"

namespace reembed {
namespace {

constexpr int kLivesBeforeCalm = 12;
constexpr absl::Duration kBetweenLives = absl::Minutes(1);

// A run of the command: what tools/run.cc does, without its preparations for one store or another.
class Command {
 public:
  Command(World* world, Plant plant) : world_(world), scenario_(world->scenario()), plant_(plant) {}

  void Run() {
    Life& life = world_->lives.back();
    absl::Status status = Open();
    if (status.ok()) status = Work();
    const bool mistaken = plant_ == Plant::kRosyReport && absl::IsUnavailable(status);
    if (store_ != nullptr) {
      absl::StatusOr<JobStats> stats = store_->Stats();
      absl::StatusOr<std::vector<RejectedRow>> rejects = store_->ListRejects(1'000'000);
      if (!world_->ghost() && stats.ok()) life.job = *std::move(stats);
      if (!world_->ghost() && rejects.ok()) life.rejects = *std::move(rejects);
      Record(status);
    }
    if (client_ != nullptr && !world_->ghost()) life.client = client_->stats();
    if (client_ != nullptr) life.most_batches = client_->batches();
    SetUp(nullptr);
    client_.reset();
    pool_.reset();
    const absl::Status closed = store_ == nullptr ? absl::OkStatus() : store_->Close();
    if (status.ok()) status = closed;
    store_.reset();
    if (world_->ghost()) return;
    life.status = mistaken ? absl::OkStatus() : status;
    life.reached_cap = IsSpendCapReached(status);
    life.missing = world_->Missing(life.rejects);
    life.ended = VirtualNow();
  }

  // From another thread.
  void Interrupt(InTheAir in_the_air) {
    if (plant_ == Plant::kDeafToStop) return;
    stop_.request_stop();
    const std::lock_guard lock(mutex_);
    if (running_ == nullptr) return;
    if (in_the_air == InTheAir::kDrop) return running_->Cancel();
    running_->StopSending(absl::CancelledError("stopped; the same command resumes from here"));
  }

 private:
  void SetUp(EmbeddingClient* client) {
    const std::lock_guard lock(mutex_);
    running_ = client;
  }

  absl::Status Open() {
    const int64_t in_flight = int64_t{scenario_.batches_in_flight} * scenario_.batch.max_texts;
    absl::StatusOr<std::unique_ptr<JobStore>> store = JobStore::Open(world_->job_directory(),
                                                                     {.source = "memory:rows",
                                                                      .selection = "all",
                                                                      .recipe = "text",
                                                                      .model = "simulated",
                                                                      .normalization = "none",
                                                                      .dim = kSimulatedDim},
                                                                     {.texts_in_flight = in_flight});
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    if (absl::Status dropped = store_->DropDamaged(0); !dropped.ok()) return dropped;
    const absl::StatusOr<JobStats> before = store_->Stats();
    if (!before.ok()) return before.status();
    double spent = before->unreceipted_usd;
    for (const Receipt& receipt : before->receipts) spent += receipt.cost_usd;
    SpendOptions money{.usd_per_token = scenario_.usd_per_token, .spent_usd = spent};
    if (const double cap = world_->lives.back().cap_usd; cap > 0) {
      money.cap_usd = plant_ == Plant::kSpendCap ? 1.5 * cap : cap;
    }
    cap_ = std::make_unique<SpendCap>(money);
    account_.note = [store = store_.get()](double usd) { return store->NoteSpending(usd); };
    cap_->ChargeTo(&account_);
    return OpenPool();
  }

  ApiOptions OptionsOf(int e) const {
    const EndpointScript& script = scenario_.endpoints[e];
    ApiOptions options{
        .api_base = absl::StrCat("http://server-", e, ".test/v1"),
        .model = {.name = "simulated", .dim = kSimulatedDim},
        .limit = script.limit,
        .concurrency = script.concurrency,
        .hedge = scenario_.hedge,
        .timeout = scenario_.timeout,
        .retry = {.first_backoff = scenario_.first_backoff},
        .spend = cap_.get(),
        .lost = [store = store_.get()](int64_t texts, Done noted) { store->NoteLost(texts, std::move(noted)); },
        .seed = scenario_.seed};
    if (scenario_.endpoints.size() > 1) options.retry.outage_waits = 0;
    if (plant_ == Plant::kQuota) options.limit.requests_per_minute *= 4.0 / 3;
    return options;
  }

  absl::Status OpenPool() {
    std::vector<PoolEndpoint> endpoints;
    for (int e = 0; e < static_cast<int>(scenario_.endpoints.size()); ++e) {
      absl::StatusOr<std::unique_ptr<EmbeddingClient>> client = MakeApiClient(OptionsOf(e));
      if (!client.ok()) return client.status();
      endpoints.push_back({.name = absl::StrCat("server ", e),
                           .traits = {.concurrency = scenario_.endpoints[e].concurrency},
                           .client = *std::move(client)});
    }
    const std::string directory = world_->job_directory();
    absl::StatusOr<std::vector<float>> reference = ReadCanary(directory, kSimulatedDim);
    if (!reference.ok()) return reference.status();
    EndpointPoolOptions options{.reference = *std::move(reference)};
    options.keep_reference = [directory](absl::Span<const float> vectors) { return WriteCanary(directory, vectors); };
    absl::StatusOr<std::unique_ptr<EndpointPool>> pool = EndpointPool::Make(std::move(endpoints), std::move(options));
    if (!pool.ok()) return pool.status();
    pool_ = *std::move(pool);
    client_ = std::make_unique<WatchedClient>(pool_.get(), plant_);
    SetUp(client_.get());
    // Killed or interrupted before there was anything to tell.
    if (stop_.stop_requested()) client_->StopSending(absl::CancelledError("stopped"));
    return absl::OkStatus();
  }

  absl::Status Work() {
    std::vector<std::unique_ptr<SimulatedSink>> made;
    std::vector<NamedSink> sinks;
    for (int i = 0; i < static_cast<int>(scenario_.sinks.size()); ++i) {
      made.push_back(std::make_unique<SimulatedSink>(world_, i, plant_));
      sinks.push_back({.name = absl::StrCat("target-", i), .sink = made.back().get()});
    }
    MemorySource source(scenario_.rows), lookup(scenario_.rows);
    const TokenCounter count = [](absl::string_view) { return int64_t{kTokensPerText}; };
    RunCounters counters;
    const PipelineParts parts{.source = &source,
                              .client = client_.get(),
                              .ledger = store_.get(),
                              .count_tokens = &count,
                              .sinks = sinks,
                              .counters = &counters,
                              .expected_rows = static_cast<int64_t>(scenario_.rows.size()),
                              .lookup = &lookup,
                              .owed = store_.get()};
    PipelineOptions options{.batch = scenario_.batch,
                            .batches_in_flight = scenario_.batches_in_flight,
                            .flush_interval = scenario_.flush_interval,
                            .stall_timeout = 2 * kLongestLife};
    if (plant_ == Plant::kBatches) options.batches_in_flight += 2;
    absl::Status status = RunPipeline(options, parts, stop_.get_token());
    if (!status.ok() && IsSpendCapReached(cap_->Reached())) status = cap_->Reached();
    if (status.ok()) status = store_->NoteAllRead();
    if (absl::Status checked = pool_->FinishChecks(); !checked.ok()) status = checked;
    const ClientStats stats = client_->stats();
    if (const int64_t lost = stats.texts_dropped; lost > 0) {
      store_->NoteDropped(lost).IgnoreError();
    }
    return status;
  }

  void Record(const absl::Status& status) {
    const ClientStats stats = client_ == nullptr ? ClientStats() : client_->stats();
    const absl::Status recorded =
        store_->RecordReceipt({.run = store_->run(),
                               .outcome = status.ok() ? "done" : "failed",
                               .requests = stats.requests,
                               .tokens = stats.tokens,
                               .cost_usd = scenario_.usd_per_token * static_cast<double>(stats.tokens)});
    if (recorded.ok() && account_.noted_usd > 0) store_->NoteSpending(cap_->spent_usd(account_)).IgnoreError();
  }

  World* const world_;
  const Scenario& scenario_;
  const Plant plant_;
  std::stop_source stop_;
  std::unique_ptr<SpendCap> cap_;
  SpendAccount account_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<EndpointPool> pool_;
  std::unique_ptr<WatchedClient> client_;
  std::mutex mutex_;
  EmbeddingClient* running_ = nullptr;  // guarded by mutex_
};

// Lets the events of the scenario happen, on a thread of its own, to whichever command is running.
class Fate {
 public:
  explicit Fate(World* world) : world_(world), thread_([this] { Loop(); }) {
    world->on_kill = [this] { wake_.notify_all(); };
  }
  ~Fate() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  void SetRunning(Command* command) {
    const std::lock_guard lock(mutex_);
    running_ = command;
    wake_.notify_all();
  }

 private:
  void Loop() {
    std::vector<SimulatedEvent> events = world_->scenario().events;
    std::unique_lock lock(mutex_);
    while (!over_) {
      while (!events.empty() && events.front().at <= VirtualNow()) {
        Happen(events.front());
        events.erase(events.begin());
      }
      if (second_interrupt_ <= VirtualNow()) Interrupt(InTheAir::kDrop);
      // Whoever is a ghost winds up.
      if (world_->ghost() && running_ != nullptr) running_->Interrupt(InTheAir::kDrop);
      const Moment next = std::min(second_interrupt_, events.empty() ? absl::InfiniteDuration() : events.front().at);
      if (next == absl::InfiniteDuration()) {
        wake_.wait(lock);
      } else {
        wake_.wait_until(lock, std::chrono::steady_clock::time_point(
                                   absl::ToChronoNanoseconds(absl::Ceil(next, absl::Nanoseconds(1)))));
      }
    }
  }

  void Happen(const SimulatedEvent& event) {
    using Kind = SimulatedEvent::Kind;
    switch (event.kind) {
      case Kind::kKill:
      case Kind::kPowerLoss:
        if (running_ != nullptr) world_->Kill(event.kind == Kind::kPowerLoss);
        break;
      case Kind::kKillAtPoint:
        world_->kill_at_point = world_->kill_points + event.point;
        break;
      case Kind::kInterruptTwice:
        second_interrupt_ = VirtualNow() + event.by;
        [[fallthrough]];
      case Kind::kInterrupt:
        Interrupt(InTheAir::kFinish);
        break;
      case Kind::kWallClockJumps:
        JumpWallClock(event.by);
        break;
      case Kind::kProcessStopped:
        JumpClock(event.by);
        break;
    }
  }

  void Interrupt(InTheAir in_the_air) {
    if (in_the_air == InTheAir::kDrop) second_interrupt_ = absl::InfiniteDuration();
    if (running_ == nullptr || world_->ghost()) return;
    Life& life = world_->lives.back();
    if (!life.told_to_stop.has_value()) life.told_to_stop = VirtualNow();
    running_->Interrupt(in_the_air);
  }

  World* const world_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool over_ = false;
  Command* running_ = nullptr;
  Moment second_interrupt_ = absl::InfiniteDuration();
  std::thread thread_;
};

// The same command until it ends well.
void RunJob(World* world, Plant plant) {
  Fate fate(world);
  double cap = world->scenario().cap_usd;
  for (int tries_in_calm = 0; tries_in_calm < 3;) {
    if (world->lives.size() >= kLivesBeforeCalm) world->CalmDown();
    tries_in_calm += world->calm() ? 1 : 0;
    world->lives.push_back({.began = VirtualNow(), .cap_usd = cap});
    {
      Command command(world, plant);
      fate.SetRunning(&command);
      command.Run();
      fate.SetRunning(nullptr);
    }
    world->Restart();
    const Life& life = world->lives.back();
    if (life.status.ok() && !life.killed) return;
    if (life.reached_cap) cap = 0;  // the user grants more
    if (!life.killed) std::this_thread::sleep_for(absl::ToChronoNanoseconds(kBetweenLives));
  }
}

uint64_t PrintOf(const World& world) {
  std::string all;
  for (const SeenRequest& one : world.requests)
    absl::StrAppend(&all, absl::ToInt64Nanoseconds(one.at), one.status, ";");
  for (const SeenRow& one : world.rows) absl::StrAppend(&all, absl::ToInt64Nanoseconds(one.at), one.ordinal, ";");
  return HashText(all).lo;
}

}  // namespace

Simulated Simulate(uint64_t seed, Plant plant) {
  World world(DrawScenario(seed));
  if (plant == Plant::kNoBudget) world.sendings = 3;
  Simulated result;
  const auto message = [seed](const char* name, const char* says, Moment at, const std::string& what) {
    return absl::StrCat("seed ", seed, ", at ", absl::FormatDuration(at), ": ", name, " (", says, "): ", what);
  };
  RunVirtually(
      seed,
      [&] {
        RunJob(&world, plant);
        result.time = VirtualNow();
      },
      [&] {
        std::puts(message("ItEnds", "no run stands still", VirtualNow(), "all threads wait for each other").c_str());
        std::fflush(stdout);
        std::abort();
      });
  for (const Invariant& invariant : Invariants()) {
    const std::optional<Violation> broken = invariant.broken(world);
    if (!broken.has_value()) continue;
    result.broken.push_back({invariant.name, message(invariant.name, invariant.says, broken->at, broken->what)});
  }
  result.lives = static_cast<int>(world.lives.size());
  result.kills = static_cast<int>(
      std::count_if(world.lives.begin(), world.lives.end(), [](const Life& life) { return life.killed; }));
  result.requests = static_cast<int64_t>(world.requests.size());
  result.print = PrintOf(world);
  return result;
}

}  // namespace reembed
