// SPDX-License-Identifier: Apache-2.0
#include "bench/end_to_end/pacing.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bench/end_to_end/numbered_source.h"
#include "engine/pipeline.h"
#include "io/embed/api_client.h"
#include "io/embed/embedding_server.h"
#include "io/job/job_store.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

constexpr int kDim = 32;
constexpr int kBatch = 64;

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "end_to_end: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}

void WaitFor(absl::Duration time) {
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, absl::ToChronoNanoseconds(time), [] { return false; });
}

struct LoadOptions {
  EmbeddingServerSpeed speed;
  EmbeddingServerLimits server_limits;
  RateLimit client_limit;
  int concurrency = 64;
  int batch = kBatch;
  int64_t rows = int64_t{1} << 40;
  double token_factor = 1;  // our estimate of a text's tokens over what the server counts
  bool hedge = false;
};

// A run against a server of its own, from the constructor on.
class Load {
 public:
  explicit Load(const LoadOptions& options) : options_(options), source_(options.rows) {
    auto server = EmbeddingServer::Start(
        {.dim = kDim, .mode = EmbeddingServerMode::kPrepared, .speed = options.speed, .limits = options.server_limits});
    Check(server.status());
    server_ = *std::move(server);
    const JobIdentity identity{.source = "numbers", .model = "reembed-lexical-1", .dim = kDim};
    auto store = JobStore::Open(folder_ / "job", identity, {.keep_vectors = KeepVectors::kNever});
    Check(store.status());
    store_ = *std::move(store);
    auto client = MakeApiClient({.api_base = server_->base_url(),
                                 .model = {.name = "reembed-lexical-1", .dim = kDim},
                                 .limit = options.client_limit,
                                 .concurrency = options.concurrency,
                                 .hedge = options.hedge});
    Check(client.status());
    client_ = *std::move(client);
    started_ = MonotonicNow();
    run_ = std::jthread([this] { Run(); });
  }

  // What is under way is cancelled.
  ~Load() {
    stop_.request_stop();
    client_->Cancel();
  }

  EmbeddingServer& server() { return *server_; }
  Moment started() const { return started_; }
  ClientStats stats() const { return client_->stats(); }
  int64_t admitted() const {
    const EmbeddingServerCounts counts = server_->counts();
    return counts.requests - counts.refused;
  }
  // Waits until the server has admitted another request, or `time` has passed.
  Moment NextAdmission(absl::Duration time) const {
    const int64_t before = admitted();
    const Moment end = MonotonicNow() + time;
    while (admitted() == before && MonotonicNow() < end) WaitFor(absl::Microseconds(200));
    return MonotonicNow();
  }
  void Join() { run_.join(); }

 private:
  void Run() {
    const TokenCounter count_tokens = [this](absl::string_view text) {
      return static_cast<int64_t>(static_cast<double>(text.size()) / 4 * options_.token_factor);
    };
    RunCounters counters;
    PipelineOptions options;
    options.batch.max_texts = options_.batch;
    options.batch.max_rows = options_.batch;
    options.batches_in_flight = options_.concurrency + options_.concurrency / 2;
    RunPipeline(options,
                {.source = &source_,
                 .client = client_.get(),
                 .ledger = store_.get(),
                 .count_tokens = &count_tokens,
                 .counters = &counters},
                stop_.get_token())
        .IgnoreError();  // it is cancelled in the end
  }

  const LoadOptions options_;
  TempFolder folder_;
  NumberedSource source_;
  std::unique_ptr<EmbeddingServer> server_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<EmbeddingClient> client_;
  Moment started_;
  std::stop_source stop_;
  std::jthread run_;  // last: it uses all of the above
};

struct Quota {
  double rpm;
  double tpm;
  int batch;
  double window_seconds;
};

// The last but one is bound by its tokens, the others by requests.
constexpr Quota kQuotas[] = {{500, 1e6, 64, 1}, {5000, 5e6, 64, 1}, {5000, 5e6, 128, 1}, {3, 40e3, 64, 10}};

void PrintQuotaUse(const Quota& quota, bool learned, double seconds) {
  LoadOptions options;
  options.speed.latency = absl::Milliseconds(100);
  options.server_limits = {
      .requests_per_minute = quota.rpm, .tokens_per_minute = quota.tpm, .window = absl::Seconds(quota.window_seconds)};
  if (!learned) options.client_limit = {.requests_per_minute = quota.rpm, .tokens_per_minute = quota.tpm};
  options.batch = quota.batch;
  options.token_factor = 1.2;  // as when the tokenizer is not known
  Load load(options);
  // From one admission to another, so that neither the start nor the end of the clock counts; the burst that we start
  // with, where there is one, comes before.
  const bool slow = quota.rpm < 60;
  Moment from = load.NextAdmission(absl::Minutes(2));
  if (!slow) {
    WaitFor(absl::Seconds(1));
    from = load.NextAdmission(absl::Minutes(2));
  }
  const int64_t first = load.admitted();
  WaitFor(from + absl::Seconds(seconds) - absl::Milliseconds(slow ? 500 : 0) - MonotonicNow());
  const Moment to = load.NextAdmission(absl::Minutes(2));
  const double minutes = absl::ToDoubleMinutes(to - from);
  const auto requests = static_cast<double>(load.admitted() - first);
  const double tokens = requests * quota.batch * (kNumberedTextBytes / 4);
  std::printf("%s  %5.0f rpm %9.0f tpm  %3d texts a request, %4.1f s: of the quota %.4f rpm, %.4f tpm; refused: %lld\n",
              learned ? "learned" : "given  ", quota.rpm, quota.tpm, quota.batch, minutes * 60,
              requests / (quota.rpm * minutes), tokens / (quota.tpm * minutes),
              static_cast<long long>(load.server().counts().limited));
  std::fflush(stdout);
}

}  // namespace

void PrintQuotaUse(double seconds) {
  for (const Quota& quota : kQuotas) PrintQuotaUse(quota, false, seconds);
}

void PrintLearnedQuotaUse(double seconds) {
  for (const Quota& quota : kQuotas) PrintQuotaUse(quota, true, seconds);
}

void PrintLatencyHiding(double seconds) {
  LoadOptions options;
  options.speed = {.latency = absl::Milliseconds(200), .jitter = absl::Milliseconds(100)};
  Load load(options);
  const double limit = options.concurrency * options.batch / 0.2;
  WaitFor(absl::Seconds(std::min(seconds / 4, 3.0)));
  const Moment warm = MonotonicNow();
  const int64_t texts_then = load.server().counts().texts;
  WaitFor(absl::Seconds(seconds));
  const int64_t texts = load.server().counts().texts;
  const Moment end = MonotonicNow();
  // Requests are counted when they come, so those in the air at the beginning and at the end make no difference.
  const double steady = static_cast<double>(texts - texts_then) / absl::ToDoubleSeconds(end - warm);
  const double whole = static_cast<double>(texts) / absl::ToDoubleSeconds(end - load.started());
  std::printf(
      "latency  200 ms +- 100 ms, %d at a time, %d texts a request: limit %.0f rows/s, run %.0f rows/s (%.3f), with "
      "its first seconds %.0f rows/s (%.3f)\n",
      options.concurrency, options.batch, limit, steady, steady / limit, whole, whole / limit);
  std::fflush(stdout);
}

void PrintKnee(double seconds) {
  for (const int places : {1, 4, 12, 48}) {
    LoadOptions options;
    options.speed = {.places = places, .service_time = absl::Milliseconds(100)};
    options.concurrency = 64;
    Load load(options);
    WaitFor(absl::Seconds(seconds / 2));
    const int64_t before = load.admitted();
    const Moment from = MonotonicNow();
    double in_air = 0;
    int samples = 0;
    while (MonotonicNow() < from + absl::Seconds(seconds)) {
      WaitFor(absl::Milliseconds(20));
      in_air += load.stats().concurrency;
      ++samples;
    }
    const double rate = static_cast<double>(load.admitted() - before) / absl::ToDoubleSeconds(MonotonicNow() - from);
    in_air /= samples;
    std::printf(
        "knee    %2d places of 100 ms, at most 64 at a time: limit %.0f requests/s, run %.1f (%.3f), %.1f at a time, "
        "so %.0f ms each\n",
        places, places / 0.1, rate, rate / (places / 0.1), in_air, in_air / rate * 1000);
    std::fflush(stdout);
  }
}

void PrintOutage(double seconds) {
  const absl::Duration phase = absl::Seconds(std::min(10.0, seconds));
  for (const auto& [name, outage] :
       {std::pair("503", EmbeddingServerOutage::kUnavailable503), std::pair("resets", EmbeddingServerOutage::kReset)}) {
    LoadOptions options;
    options.speed = {.latency = absl::Milliseconds(200), .jitter = absl::Milliseconds(50)};
    Load load(options);
    WaitFor(phase / 2);
    int64_t before = load.admitted();
    Moment from = MonotonicNow();
    WaitFor(phase / 2);
    const double rate = static_cast<double>(load.admitted() - before) / absl::ToDoubleSeconds(MonotonicNow() - from);
    const int64_t sent_before = load.stats().requests;
    load.server().SetOutage(outage);
    WaitFor(phase);
    const int64_t sent = load.stats().requests - sent_before;
    load.server().SetOutage(EmbeddingServerOutage::kNone);
    const Moment well = MonotonicNow();
    // The rate over each half second.
    absl::Duration recovered = absl::InfiniteDuration();
    std::vector<std::pair<Moment, int64_t>> seen;
    while (recovered == absl::InfiniteDuration() && MonotonicNow() < well + absl::Seconds(30)) {
      seen.emplace_back(MonotonicNow(), load.admitted());
      WaitFor(absl::Milliseconds(10));
      const auto& now = seen.back();
      for (auto then = seen.rbegin(); then != seen.rend(); ++then) {
        const double span = absl::ToDoubleSeconds(now.first - then->first);
        if (span < 0.5) continue;
        if (static_cast<double>(now.second - then->second) >= 0.95 * rate * span) recovered = then->first - well;
        break;
      }
    }
    const ClientStats stats = load.stats();
    std::printf(
        "outage  %-6s %.0f s: before %.0f requests/s, %lld sent meanwhile, 95 %% again after %.2f s, %lld of %lld "
        "sent again in all\n",
        name, absl::ToDoubleSeconds(phase), rate, static_cast<long long>(sent), absl::ToDoubleSeconds(recovered),
        static_cast<long long>(stats.requests_retried), static_cast<long long>(stats.requests));
    std::fflush(stdout);
  }
}

void PrintHedging() {
  for (const bool hedge : {false, true}) {
    LoadOptions options;
    options.speed = {.latency = absl::Milliseconds(50),
                     .jitter = absl::Milliseconds(10),
                     .slow_share = 0.01,
                     .slow_latency = absl::Seconds(1)};
    options.concurrency = 16;
    options.rows = int64_t{1000} * kBatch;
    options.hedge = hedge;
    Load load(options);
    load.Join();
    const ClientStats stats = load.stats();
    std::printf("hedge   %-3s 1,000 requests of 50 ms, 1 %% of 1 s, 16 at a time: %.2f s, %lld sent twice\n",
                hedge ? "on" : "off", absl::ToDoubleSeconds(MonotonicNow() - load.started()),
                static_cast<long long>(stats.requests_hedged));
    std::fflush(stdout);
  }
}

}  // namespace reembed
