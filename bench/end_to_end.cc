// SPDX-License-Identifier: Apache-2.0
// The end-to-end runner: each figure with its limit, measured in the same run on the same machine.
//
//   ingest  rows through the whole pipeline from a server that answers at once with prepared bytes, against a bare
//           curl_multi loop that receives and decodes the same replies on one thread, with the same decoders of base64
//           and of numbers; in pairs, one after the other, since others may use the machine meanwhile. Processor time
//           is that of this process, not of the server
//   others  how a run paces itself, see bench/end_to_end/pacing.h
//
// The server of `ingest` is a process of its own: build/.../reembed serve --prepared.

#include <curl/curl.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/end_to_end/numbered_source.h"
#include "bench/end_to_end/pacing.h"
#include "engine/number/base64.h"
#include "engine/number/number_array.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pipeline.h"
#include "io/embed/api_client.h"
#include "io/job/job_store.h"
#include "tests/fakes/process.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

struct Settings {
  std::string program;  // the reembed command
  int64_t rows = 300000;
  int dim = 1536;
  int batch_size = 256;
  int concurrency = 8;
  int extra_batches = 0;  // that are decoded and kept while others are at the server; 0: as `reembed run`
  int repetitions = 3;
  double seconds = 60;
  bool floats = false;  // replies with arrays of numbers instead of base64
  bool limit = true;    // measure the bare loop too
  bool watch = false;   // look each millisecond how many requests are in flight
};

struct Rate {
  double rows_per_second = 0;
  double cpu_microseconds = 0;  // of all threads, per row
  double in_flight = 0;         // requests, on average; 0: not looked at
};

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Measures from its construction on.
class Clock {
 public:
  Rate Stop(int64_t rows) const {
    const double count = static_cast<double>(rows);
    return {.rows_per_second = count / absl::ToDoubleSeconds(MonotonicNow() - start_),
            .cpu_microseconds = (CpuSeconds() - cpu_) * 1e6 / count};
  }

 private:
  const Moment start_ = MonotonicNow();
  const double cpu_ = CpuSeconds();
};

// How many requests of a client are in flight on average, from its construction on.
class InFlight {
 public:
  explicit InFlight(const EmbeddingClient* client)
      : watcher_([this, client](const std::stop_token& done) {
          for (; !done.stop_requested(); ++looks_) {
            sum_ += client->stats().in_the_air;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}

  double Stop() {
    watcher_.request_stop();
    watcher_.join();
    return looks_ > 0 ? static_cast<double>(sum_) / looks_ : 0;
  }

 private:
  int64_t sum_ = 0;
  int looks_ = 0;
  std::jthread watcher_;  // last: it uses all of the above
};

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "end_to_end: %s\n", why.c_str());
  std::exit(1);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Die(std::string(status.message()));
}

class Server {
 public:
  explicit Server(const Settings& settings)
      : process_({settings.program, "serve", "--port", "0", "--prepared", "--dim", absl::StrCat(settings.dim)}) {
    if (!process_.WaitFor("/v1")) Die("the server did not start: " + process_.err());
    const std::string out = process_.out();
    const size_t begin = out.find("http://");
    url_ = out.substr(begin, out.find("/v1", begin) + 3 - begin);
  }
  const std::string& url() const { return url_; }

 private:
  Process process_;
  std::string url_;
};

ApiOptions ClientOptions(const Settings& settings, const Server& server) {
  ApiOptions options;
  options.api_base = server.url();
  options.model = {.name = "reembed-lexical-1", .dim = settings.dim};
  options.concurrency = settings.concurrency;
  options.encoding = settings.floats ? ReplyFormat::kFloat : ReplyFormat::kBase64;
  return options;
}

// Rows per second of the whole pipeline without sinks. `keep`: with the vector store on this machine's disk, or
// without.
Rate IngestRate(const Settings& settings, const Server& server, KeepVectors keep) {
  TempFolder folder;
  const JobIdentity identity{.source = "numbers", .model = "reembed-lexical-1", .dim = settings.dim};
  auto store = JobStore::Open(folder / "job", identity, {.keep_vectors = keep});
  Check(store.status());
  auto client = MakeApiClient(ClientOptions(settings, server));
  Check(client.status());
  NumberedSource source(settings.rows);
  const TokenCounter count_tokens = [](absl::string_view text) { return static_cast<int64_t>(text.size()) / 4; };
  RunCounters counters;
  PipelineOptions options;
  options.batch.max_texts = settings.batch_size;
  options.batch.max_rows = 2 * settings.batch_size;
  options.batches_in_flight = settings.extra_batches > 0
                                  ? settings.concurrency + settings.extra_batches
                                  : BatchesInFlight(settings.concurrency, options.batch, settings.dim);
  std::optional<InFlight> in_flight;
  if (settings.watch) in_flight.emplace(client->get());
  const Clock clock;
  Check(RunPipeline(options,
                    {.source = &source,
                     .client = client->get(),
                     .ledger = store->get(),
                     .count_tokens = &count_tokens,
                     .counters = &counters},
                    {}));
  Rate rate = clock.Stop(settings.rows);
  if (in_flight.has_value()) rate.in_flight = in_flight->Stop();
  if (counters.rows_embedded != settings.rows) Die("the run did not embed every row");
  return rate;
}

// Finds the vectors of a reply by a plain search and decodes them with the decoders of the pipeline; checks nothing
// else.
void DecodeBarely(const Settings& settings, absl::string_view reply, std::vector<float>* vectors) {
  const absl::string_view name = settings.floats ? "\"embedding\":" : "\"embedding\":\"";
  const size_t text_size = (settings.dim * sizeof(float) + 2) / 3 * 4;
  size_t at = 0;
  for (int i = 0; i < settings.batch_size; ++i) {
    at = reply.find(name, at);
    if (at == absl::string_view::npos) Die("the reply has too few vectors");
    at += name.size();
    float* const to = vectors->data() + static_cast<size_t>(i) * settings.dim;
    if (settings.floats) {
      const size_t size = reply.substr(at).find(']') + 1;
      if (ParseNumberArray(reply.substr(at, size), absl::MakeSpan(to, settings.dim)) != settings.dim) {
        Die("the reply has no such array");
      }
      at += size;
    } else {
      if (!DecodeBase64(reply.substr(at, text_size),
                        {reinterpret_cast<unsigned char*>(to), settings.dim * sizeof(float)})) {
        Die("the reply is not base64");
      }
      at += text_size;
    }
  }
}

// The limit: one thread, curl_multi, keep-alive, replies into one buffer for each connection, DecodeBarely(). It sends
// the same bodies, made beforehand.
Rate BareCurlRate(const Settings& settings, const Server& server) {
  std::string body = absl::StrCat(R"({"model":"reembed-lexical-1","encoding_format":")",
                                  settings.floats ? "float" : "base64", R"(","input":[)");
  for (int i = 0; i < settings.batch_size; ++i) {
    absl::StrAppend(&body, i > 0 ? "," : "", "\"row ", i, " of a store with texts that are all different\"");
  }
  body += "]}";
  struct Transfer {
    CURL* easy;
    std::string reply;
  };
  const auto append = +[](char* data, size_t size, size_t count, void* user) {
    static_cast<std::string*>(user)->append(data, size * count);
    return size * count;
  };
  CURLM* const multi = curl_multi_init();
  curl_slist* const headers =
      curl_slist_append(curl_slist_append(nullptr, "Content-Type: application/json"), "Expect:");
  std::vector<Transfer> transfers(settings.concurrency);
  for (Transfer& transfer : transfers) {
    transfer.easy = curl_easy_init();
    curl_easy_setopt(transfer.easy, CURLOPT_URL, absl::StrCat(server.url(), "/embeddings").c_str());
    curl_easy_setopt(transfer.easy, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(transfer.easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(transfer.easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(transfer.easy, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(transfer.easy, CURLOPT_WRITEDATA, &transfer.reply);
    curl_easy_setopt(transfer.easy, CURLOPT_PRIVATE, &transfer);
    curl_easy_setopt(transfer.easy, CURLOPT_BUFFERSIZE, 512L * 1024);
    curl_easy_setopt(transfer.easy, CURLOPT_NOSIGNAL, 1L);
  }
  const int64_t requests = settings.rows / settings.batch_size;
  int64_t started = 0, done = 0;
  std::vector<float> vectors(static_cast<size_t>(settings.batch_size) * settings.dim);
  const auto start_next = [&](Transfer* transfer) {
    if (started == requests) return;
    ++started;
    transfer->reply.clear();
    curl_multi_add_handle(multi, transfer->easy);
  };
  const Clock clock;
  for (Transfer& transfer : transfers) start_next(&transfer);
  while (done < requests) {
    int running = 0, left = 0;
    curl_multi_perform(multi, &running);
    while (CURLMsg* const message = curl_multi_info_read(multi, &left)) {
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      if (message->data.result != CURLE_OK) Die(curl_easy_strerror(message->data.result));
      curl_multi_remove_handle(multi, transfer->easy);
      DecodeBarely(settings, transfer->reply, &vectors);
      ++done;
      start_next(transfer);
    }
    if (done < requests) curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
  }
  const Rate rate = clock.Stop(requests * settings.batch_size);
  for (Transfer& transfer : transfers) curl_easy_cleanup(transfer.easy);
  curl_slist_free_all(headers);
  curl_multi_cleanup(multi);
  return rate;
}

void PrintIngest(const Settings& settings, const Server& server, bool store) {
  std::printf("%lld rows, %d-d %s, %d texts a request, %d requests at a time, %u cores\n",
              static_cast<long long>(settings.rows), settings.dim, settings.floats ? "floats" : "base64",
              settings.batch_size, settings.concurrency, std::thread::hardware_concurrency());
  std::vector<double> ratios;
  for (int i = 0; i < settings.repetitions; ++i) {
    const Rate limit = settings.limit ? BareCurlRate(settings, server) : Rate{};
    const Rate ours = IngestRate(settings, server, KeepVectors::kNever);
    std::printf("ingest  bare curl loop %7.0f rows/s, %5.2f us of processor  pipeline %7.0f rows/s, %5.2f us",
                limit.rows_per_second, limit.cpu_microseconds, ours.rows_per_second, ours.cpu_microseconds);
    if (settings.watch) std::printf("  in flight %.1f", ours.in_flight);
    if (settings.limit) {
      ratios.push_back(ours.rows_per_second / limit.rows_per_second);
      std::printf("  ratio %.2f", ratios.back());
    }
    if (store) {
      const Rate stored = IngestRate(settings, server, KeepVectors::kAlways);
      std::printf("  with the vector store %7.0f rows/s, %5.2f us", stored.rows_per_second, stored.cpu_microseconds);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  if (settings.limit) std::printf("ingest  median ratio %.2f\n", Median(ratios));
}

int Main(int argc, char** argv) {
  Settings settings;
  settings.program = (std::filesystem::canonical("/proc/self/exe").parent_path().parent_path() / "reembed").string();
  bool ingest = true, quota = false, learned = false, latency = false, knee = false, outage = false, hedge = false;
  bool store = true;
  CLI::App app{"end-to-end figures with their limits"};
  app.add_option("--program", settings.program, "the reembed command");
  app.add_option("--rows", settings.rows, "rows for each measurement");
  app.add_option("--dim", settings.dim, "width of the vectors");
  app.add_option("--batch-size", settings.batch_size, "texts per request");
  app.add_option("--concurrency", settings.concurrency, "requests under way at a time");
  app.add_option("--extra-batches", settings.extra_batches, "batches beyond those at the server");
  app.add_option("--repetitions", settings.repetitions, "pairs of measurements");
  app.add_option("--seconds", settings.seconds, "length of each measurement of pacing");
  app.add_flag("!--no-store", store, "leave out the run with the vector store on disk");
  app.add_flag("--float", settings.floats, "replies with arrays of numbers instead of base64");
  app.add_flag("!--no-limit", settings.limit, "leave out the bare loop");
  app.add_flag("--watch", settings.watch, "requests in flight on average, by a look each millisecond");
  app.add_flag("!--no-ingest", ingest, "leave out the ingest");
  app.add_flag("--quota", quota, "use of a quota given by flags");
  app.add_flag("--learned", learned, "use of a quota learned from headers");
  app.add_flag("--latency", latency, "hiding of latency");
  app.add_flag("--knee", knee, "concurrency found at a server with few places");
  app.add_flag("--outage", outage, "recovery from an outage");
  app.add_flag("--hedge", hedge, "a small job with and without hedging");
  CLI11_PARSE(app, argc, argv);
  curl_global_init(CURL_GLOBAL_DEFAULT);

  if (ingest) PrintIngest(settings, Server(settings), store);
  if (quota) PrintQuotaUse(settings.seconds);
  if (learned) PrintLearnedQuotaUse(settings.seconds);
  if (latency) PrintLatencyHiding(settings.seconds);
  if (knee) PrintKnee(settings.seconds);
  if (outage) PrintOutage(settings.seconds);
  if (hedge) PrintHedging();
  return 0;
}

}  // namespace
}  // namespace reembed

int main(int argc, char** argv) { return reembed::Main(argc, argv); }
