// The end-to-end runner: each figure with its limit, measured in the same run on the same machine.
//
//   ingest  rows through the whole pipeline from a server that answers at once with prepared bytes, against a bare
//           curl_multi loop that receives and decodes the same replies on one thread
//   others  how a run paces itself, see bench/end_to_end/pacing.h
//
// The server of `ingest` is a process of its own: build/.../reembed serve --prepared.

#include <curl/curl.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/end_to_end/numbered_source.h"
#include "bench/end_to_end/pacing.h"
#include "engine/base64.h"
#include "engine/pipeline.h"
#include "engine/rate_limiter.h"
#include "io/embed/openai_client.h"
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
  int extra_batches = 4;  // that are decoded and kept while others are at the server
  int repetitions = 3;
  double seconds = 60;
};

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

OpenAiOptions ClientOptions(const Settings& settings, const Server& server) {
  OpenAiOptions options;
  options.api_base = server.url();
  options.model = {.name = "reembed-lexical-1", .dim = settings.dim};
  options.concurrency = settings.concurrency;
  return options;
}

// Rows per second of the whole pipeline without sinks. `keep`: with the vector store on this machine's disk, or
// without.
double IngestRate(const Settings& settings, const Server& server, KeepVectors keep) {
  TempFolder folder;
  const JobIdentity identity{.source = "numbers", .model = "reembed-lexical-1", .dim = settings.dim};
  auto store = JobStore::Open(folder / "job", identity, {.keep_vectors = keep});
  Check(store.status());
  auto client = MakeOpenAiClient(ClientOptions(settings, server));
  Check(client.status());
  NumberedSource source(settings.rows);
  const TokenCounter count_tokens = [](absl::string_view text) { return static_cast<int64_t>(text.size()) / 4; };
  RunCounters counters;
  PipelineOptions options;
  options.batch.max_texts = settings.batch_size;
  options.batch.max_rows = settings.batch_size;
  options.batches_in_flight = settings.concurrency + settings.extra_batches;
  const Moment start = MonotonicNow();
  Check(RunPipeline(options,
                    {.source = &source,
                     .client = client->get(),
                     .ledger = store->get(),
                     .count_tokens = &count_tokens,
                     .counters = &counters},
                    {}));
  const double seconds = absl::ToDoubleSeconds(MonotonicNow() - start);
  if (counters.rows_embedded != settings.rows) Die("the run did not embed every row");
  return static_cast<double>(settings.rows) / seconds;
}

// The limit: one thread, curl_multi, keep-alive, replies into one buffer for each connection, found by a plain search
// and decoded by our base64. It sends the same bodies, made beforehand, and checks nothing.
double BareCurlRate(const Settings& settings, const Server& server) {
  std::string body = R"({"model":"reembed-lexical-1","encoding_format":"base64","input":[)";
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
  const size_t text_size = (settings.dim * sizeof(float) + 2) / 3 * 4;
  const auto decode = [&](const std::string& reply) {
    constexpr absl::string_view kName = "\"embedding\":\"";
    size_t at = 0;
    for (int i = 0; i < settings.batch_size; ++i) {
      at = reply.find(kName.data(), at, kName.size());
      if (at == std::string::npos) Die("the reply has too few vectors");
      at += kName.size();
      auto* const to = reinterpret_cast<unsigned char*>(vectors.data() + static_cast<size_t>(i) * settings.dim);
      if (!DecodeBase64(absl::string_view(reply).substr(at, text_size), {to, settings.dim * sizeof(float)})) {
        Die("the reply is not base64");
      }
      at += text_size;
    }
  };
  const auto start_next = [&](Transfer* transfer) {
    if (started == requests) return;
    ++started;
    transfer->reply.clear();
    curl_multi_add_handle(multi, transfer->easy);
  };
  const Moment start = MonotonicNow();
  for (Transfer& transfer : transfers) start_next(&transfer);
  while (done < requests) {
    int running = 0, left = 0;
    curl_multi_perform(multi, &running);
    while (CURLMsg* const message = curl_multi_info_read(multi, &left)) {
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      if (message->data.result != CURLE_OK) Die(curl_easy_strerror(message->data.result));
      curl_multi_remove_handle(multi, transfer->easy);
      decode(transfer->reply);
      ++done;
      start_next(transfer);
    }
    if (done < requests) curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
  }
  const double seconds = absl::ToDoubleSeconds(MonotonicNow() - start);
  for (Transfer& transfer : transfers) curl_easy_cleanup(transfer.easy);
  curl_slist_free_all(headers);
  curl_multi_cleanup(multi);
  return static_cast<double>(requests * settings.batch_size) / seconds;
}

void PrintIngest(const Settings& settings, bool store) {
  const Server server(settings);
  std::printf("%lld rows, %d-d base64, %d texts a request, %d requests at a time, %u cores\n",
              static_cast<long long>(settings.rows), settings.dim, settings.batch_size, settings.concurrency,
              std::thread::hardware_concurrency());
  for (int i = 0; i < settings.repetitions; ++i) {
    const double limit = BareCurlRate(settings, server);
    const double ours = IngestRate(settings, server, KeepVectors::kNever);
    const double stored = store ? IngestRate(settings, server, KeepVectors::kAlways) : 0;
    std::printf(
        "ingest  bare curl loop %7.0f rows/s  pipeline %7.0f rows/s  ratio %.2f  with the vector store %7.0f rows/s\n",
        limit, ours, ours / limit, stored);
    std::fflush(stdout);
  }
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
  app.add_flag("!--no-ingest", ingest, "leave out the ingest");
  app.add_flag("--quota", quota, "use of a quota given by flags");
  app.add_flag("--learned", learned, "use of a quota learned from headers");
  app.add_flag("--latency", latency, "hiding of latency");
  app.add_flag("--knee", knee, "concurrency found at a server with few places");
  app.add_flag("--outage", outage, "recovery from an outage");
  app.add_flag("--hedge", hedge, "a small job with and without hedging");
  CLI11_PARSE(app, argc, argv);
  curl_global_init(CURL_GLOBAL_DEFAULT);

  if (ingest) PrintIngest(settings, store);
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
