// SPDX-License-Identifier: Apache-2.0
#include "tools/live/metrics.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "engine/status_macros.h"
#include "io/embed/embedding_server.h"
#include "io/file/file.h"
#include "io/net/http_server.h"
#include "tools/endpoints.h"
#include "tools/waits.h"

namespace reembed {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Gathers samples by name, as the text form wants those of one name together, behind what they are.
class MetricText {
 public:
  explicit MetricText(std::string job) : job_(std::move(job)) {}

  void Add(const char* name, const char* type, const char* help, double value, const Labels& labels = {}) {
    Family& family = Of(name);
    family.type = type;
    family.help = help;
    absl::StrAppend(&family.samples, name, "{reembed_job=\"", Escaped(job_), "\"");
    for (const auto& [label, text] : labels) {
      if (!text.empty()) absl::StrAppend(&family.samples, ",", label, "=\"", Escaped(text), "\"");
    }
    absl::StrAppendFormat(&family.samples, "} %.17g\n", value);
  }

  std::string ToString() const {
    std::string text;
    for (const auto& [name, family] : families_) {
      absl::StrAppend(&text, "# HELP ", name, " ", family.help, "\n# TYPE ", name, " ", family.type, "\n",
                      family.samples);
    }
    return text;
  }

 private:
  struct Family {
    std::string type, help, samples;
  };

  static std::string Escaped(const std::string& value) {
    return absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}});
  }

  Family& Of(const std::string& name) {
    for (auto& [known, family] : families_) {
      if (known == name) return family;
    }
    return families_.emplace_back(name, Family()).second;
  }

  const std::string job_;
  std::vector<std::pair<std::string, Family>> families_;  // in the order of their first sample
};

constexpr char kGauge[] = "gauge";
constexpr char kCounter[] = "counter";

// What is not known has no sample.
void AddIfKnown(const char* name, const char* help, double value, const Labels& labels, MetricText* text) {
  if (std::isfinite(value) && value > 0) text->Add(name, kGauge, help, value, labels);
}

void AddRows(const RunSnapshot& run, const Labels& stream, MetricText* text) {
  const auto count = [&](const char* name, const char* help, int64_t value) {
    text->Add(name, kCounter, help, static_cast<double>(value), stream);
  };
  count("reembed_rows_done_total", "Rows that every target has taken in this run.", run.rows_done);
  count("reembed_rows_embedded_total", "Rows of reembed_rows_done_total whose vector is new.", run.rows_embedded);
  count("reembed_rows_replayed_total", "Rows of reembed_rows_done_total whose vector was bought before.",
        run.rows_replayed);
  count("reembed_rows_rejected_total", "Rows that get no vector.", run.rows_rejected);
  count("reembed_rows_changed_total", "Rows whose text had changed since their vector was made.", run.rows_changed);
  count("reembed_texts_embedded_total", "Different texts that were embedded.", run.texts_embedded);
  if (run.rows_expected >= 0) {
    text->Add("reembed_rows_expected", kGauge, "Rows that the run will have at its end.",
              static_cast<double>(run.rows_expected), stream);
  }
  std::map<std::string, int64_t> by_code;
  for (const RejectedFor& rejected : run.rejects) by_code[RejectWord(rejected.reason.code(), false)] += rejected.rows;
  for (const auto& [code, rows] : by_code) {
    Labels labels = stream;
    labels.emplace_back("reason", code);
    text->Add("reembed_rejects_total", kCounter, "Rows that get no vector, by the class of the reason.",
              static_cast<double>(rows), labels);
  }
}

void AddRequests(const RunSnapshot& run, const Labels& stream, MetricText* text) {
  const ClientStats& client = run.client;
  const auto count = [&](const char* name, const char* help, int64_t value) {
    text->Add(name, kCounter, help, static_cast<double>(value), stream);
  };
  count("reembed_requests_total", "Requests sent, retries included.", client.requests);
  count("reembed_requests_retried_total", "Requests sent again.", client.requests_retried);
  count("reembed_requests_hedged_total", "Requests sent a second time because the first was slow.",
        client.requests_hedged);
  count("reembed_rate_limited_total", "Answers with status 429: the rate limit was reached.", client.http_429);
  count("reembed_tokens_total", "Model tokens that were charged for.", client.tokens);
  text->Add("reembed_cost_dollars_total", kCounter, "US dollars that this run has cost.", run.cost_usd, stream);
}

// Of the stream that goes on.
void AddPace(const LiveLook& look, const RunSnapshot& run, MetricText* text) {
  const ClientStats& client = run.client;
  text->Add("reembed_elapsed_seconds", kGauge, "Since the run began.", absl::ToDoubleSeconds(look.total.elapsed));
  text->Add("reembed_requests_in_flight", kGauge, "Requests in flight.", client.in_the_air);
  text->Add("reembed_concurrency_limit", kGauge, "Maximum number of requests in flight at the moment.",
            client.concurrency);
  text->Add("reembed_quota_wait_seconds", kGauge, "Seconds until the quota allows the next request.",
            std::min(absl::ToDoubleSeconds(client.quota_wait), 1e9));
  AddIfKnown("reembed_request_latency_seconds", "Average latency of the last answers.",
             absl::ToDoubleSeconds(client.latency), {}, text);
  AddIfKnown("reembed_quota_requests_per_minute", "Requests per minute of the quota, if known.",
             client.requests_per_minute, {}, text);
  AddIfKnown("reembed_quota_tokens_per_minute", "Tokens per minute of the quota, if known.", client.tokens_per_minute,
             {}, text);
  text->Add("reembed_recent_rows_per_second", kGauge, "Of the last ten seconds.", run.recent.rows_per_second);
  text->Add("reembed_recent_requests_per_minute", kGauge, "Of the last ten seconds.", run.recent.requests_per_minute);
  text->Add("reembed_recent_tokens_per_minute", kGauge, "Of the last ten seconds.", run.recent.tokens_per_minute);
  if (run.left.has_value()) {
    text->Add("reembed_seconds_left", kGauge, "Estimated seconds until the end of the run.",
              std::min(absl::ToDoubleSeconds(*run.left), 1e9));
  }
  text->Add("reembed_spent_dollars", kGauge, "US dollars that all runs of the job have cost.", run.spent_usd);
  if (run.max_spend_usd.has_value()) {
    text->Add("reembed_max_spend_dollars", kGauge, "The cap of --max-spend.", *run.max_spend_usd);
  }
  for (const WaitShare& wait : run.recent_waits) {
    text->Add("reembed_waiting_ratio", kGauge, "Share of the last seconds in which the run waited for this part.",
              wait.share, {{"part", std::string(WaitPartWord(wait.what.part))}, {"target", wait.what.target}});
  }
}

void AddParts(const RunSnapshot& run, MetricText* text) {
  for (const EndpointReport& endpoint : run.endpoints) {
    const Labels name = {{"endpoint", endpoint.name}};
    const ClientStats& stats = endpoint.stats;
    text->Add("reembed_endpoint_working", kGauge, "1: the endpoint gets work; 0: it fails, or is left out.",
              endpoint.state == EndpointState::kWorking ? 1 : 0, name);
    text->Add("reembed_endpoint_requests_total", kCounter, "Requests sent to the endpoint, for the current stream.",
              static_cast<double>(stats.requests), name);
    text->Add("reembed_endpoint_tokens_total", kCounter,
              "Tokens that the endpoint charged for, for the current stream.", static_cast<double>(stats.tokens), name);
    text->Add("reembed_endpoint_requests_in_flight", kGauge, "Requests in flight to the endpoint.", stats.in_the_air,
              name);
    AddIfKnown("reembed_endpoint_latency_seconds", "Average latency of the endpoint's last answers.",
               absl::ToDoubleSeconds(stats.latency), name, text);
  }
}

void AddTargets(const RunSnapshot& run, const Labels& stream, MetricText* text) {
  for (const SinkProgress& sink : run.sinks) {
    Labels labels = stream;
    labels.emplace_back("target", sink.name);
    text->Add("reembed_target_rows_written_total", kCounter, "Rows that the target took in this run.",
              static_cast<double>(sink.rows_written), labels);
    text->Add("reembed_target_rows_refused_total", kCounter, "Rows that the target refused in this run.",
              static_cast<double>(sink.rows_refused), labels);
    text->Add("reembed_target_position_rows", kGauge, "Rows of the job that are in the target without a gap.",
              static_cast<double>(sink.position), labels);
  }
}

}  // namespace

std::string MetricsText(const LiveLook& look) {
  const std::filesystem::path job(look.job);
  MetricText text((job.has_filename() ? job : job.parent_path()).filename().string());
  text.Add("reembed_build_info", kGauge, "Always 1; the version is a label.", 1, {{"version", REEMBED_VERSION}});
  for (const char* const state : {"preparing", "running", "paused", "stopping", "finished"}) {
    text.Add("reembed_run_state", kGauge, "1 for the current state of the run, 0 for the others.",
             absl::string_view(state) == look.state ? 1 : 0, {{"state", state}});
  }
  if (look.exit_code.has_value()) {
    text.Add("reembed_exit_code", kGauge, "How the run ended: 0 done, 3 some rows rejected; see the manual.",
             static_cast<int>(*look.exit_code));
    text.Add("reembed_end_timestamp_seconds", kGauge, "When the run ended.",
             absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  }
  for (const LiveLook::Stream& stream : look.streams) {
    const Labels labels = {{"stream", stream.name}};
    AddRows(stream.run, labels, &text);
    AddRequests(stream.run, labels, &text);
    AddTargets(stream.run, labels, &text);
  }
  if (!look.streams.empty()) {
    AddPace(look, look.streams.back().run, &text);
    AddParts(look.streams.back().run, &text);
  }
  return text.ToString();
}

absl::Status WriteMetricsFile(const std::string& path, const LiveLook& look) {
  // Collectors read what ends with .prom alone.
  const std::string partial = absl::StrCat(path, ".", getpid(), ".partial");
  unlink(partial.c_str());
  {
    const File file(open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644), partial);
    if (file.fd() < 0) return FileError(partial, "make", errno);
    if (absl::Status written = file.WriteAt(0, MetricsText(look)); !written.ok()) {
      unlink(partial.c_str());
      return written;
    }
  }
  if (rename(partial.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const int error = errno;
  unlink(partial.c_str());
  return FileError(path, "replace", error);
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const ListenAddress& listen,
                                                                    std::function<LiveLook()> look) {
  HttpServerOptions options{.address = listen.address, .port = listen.port, .max_connections = 64};
  options.limits = {.max_head_bytes = 16 << 10, .max_body_bytes = 4 << 10};
  options.only_local_hosts = EmbeddingServer::IsLoopback(listen.address);
  options.stop_timeout = absl::Seconds(1);
  auto answer = [look = std::move(look)](const HttpServerRequest& request) -> HttpServerResponse {
    constexpr char kPlain[] = "text/plain; charset=utf-8";
    if (request.path != "/metrics") {
      return {.status = 404, .content_type = kPlain, .body = "there is nothing but /metrics\n"};
    }
    if (request.method != "GET" && request.method != "HEAD") {
      return {.status = 405, .content_type = kPlain, .headers = {{"allow", "GET, HEAD"}}, .body = "only GET\n"};
    }
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = MetricsText(look())};
  };
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HttpServer> http, HttpServer::Start(options, std::move(answer)));
  std::string url = absl::StrCat("http://", HostAndPort(listen.address, http->port()), "/metrics");
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(url), std::move(http)));
}

MetricsServer::MetricsServer(std::string url, std::unique_ptr<HttpServer> http)
    : url_(std::move(url)), http_(std::move(http)) {}

MetricsServer::~MetricsServer() = default;

}  // namespace reembed
