// SPDX-License-Identifier: Apache-2.0
#include "tools/live/run_json.h"

#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/endpoints.h"
#include "tools/exit_code.h"
#include "tools/format.h"
#include "tools/waits.h"

namespace reembed {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::infinity();  // null, in JSON

double SecondsOf(const std::optional<absl::Duration>& time) {
  return time.has_value() ? absl::ToDoubleSeconds(*time) : kUnknown;
}

// What may be nothing: 0 is null.
double Named(double rate) {
  if (rate > 0) return rate;
  return kUnknown;
}

void AddClient(const ClientStats& client, JsonLine* line) {
  line->Add("requests", client.requests)
      .Add("requests_retried", client.requests_retried)
      .Add("requests_hedged", client.requests_hedged)
      .Add("http_429", client.http_429)
      .Add("concurrency", client.concurrency)
      .Add("in_the_air", client.in_the_air)
      .Add("latency_seconds", Named(absl::ToDoubleSeconds(client.latency)))
      .Add("tokens", client.tokens)
      .Add("texts_dropped", client.texts_dropped)
      .Add("texts_unanswered", client.texts_unanswered)
      .Add("quota_wait_seconds", absl::ToDoubleSeconds(client.quota_wait))
      .Add("quota_requests_per_minute", Named(client.requests_per_minute))
      .Add("quota_tokens_per_minute", Named(client.tokens_per_minute));
}

template <typename Items, typename Write>
std::string List(const Items& items, Write write) {
  std::vector<std::string> lines;
  lines.reserve(items.size());
  for (const auto& item : items) lines.push_back(write(item));
  return absl::StrCat("[", absl::StrJoin(lines, ","), "]");
}

std::string EndpointJson(const EndpointReport& endpoint) {
  JsonLine line("endpoint");
  line.Add("name", endpoint.name).Add("state", StateWord(endpoint.state)).Add("trouble", endpoint.trouble);
  line.Add("texts", endpoint.texts).Add("tokens_per_second", endpoint.tokens_per_second);
  AddClient(endpoint.stats, &line);
  return line.ToString();
}

std::string TargetJson(const SinkProgress& sink) {
  return JsonLine("target")
      .Add("name", sink.name)
      .Add("position", sink.position)
      .Add("rows_written", sink.rows_written)
      .Add("rows_refused", sink.rows_refused)
      .ToString();
}

std::string RejectedJson(const RejectedFor& rejected) {
  return JsonLine("rejected")
      .Add("code", RejectWord(rejected.reason.code(), false))
      .Add("reason", rejected.reason.message())
      .Add("rows", rejected.rows)
      .AddRaw("key", KeyJson(ViewOf(rejected.example)))
      .ToString();
}

}  // namespace

std::string RunJson(const RunSnapshot& run) {
  JsonLine line("snapshot");
  line.Add("elapsed_seconds", absl::ToDoubleSeconds(run.elapsed))
      .Add("rows_expected", run.rows_expected < 0 ? kUnknown : static_cast<double>(run.rows_expected))
      .Add("rows_before", run.rows_before)
      .Add("rows_through", run.rows_through())
      .Add("rows_done", run.rows_done)
      .Add("rows_embedded", run.rows_embedded)
      .Add("rows_replayed", run.rows_replayed)
      .Add("rows_rejected", run.rows_rejected)
      .Add("rows_truncated", run.rows_truncated)
      .Add("rows_split", run.rows_split)
      .Add("rows_changed", run.rows_changed)
      .Add("passes", run.passes)
      .Add("texts_embedded", run.texts_embedded)
      .Add("texts_damaged", run.texts_damaged)
      .Add("job_rows", run.now.rows)
      .Add("job_rows_done", run.now.rows_done)
      .Add("job_rows_rejected", run.now.rows_rejected)
      .Add("job_rows_gone", run.now.rows_gone)
      .Add("rows_per_second", run.rows_per_second)
      .Add("recent_rows_per_second", run.recent.rows_per_second)
      .Add("recent_requests_per_minute", run.recent.requests_per_minute)
      .Add("recent_tokens_per_minute", run.recent.tokens_per_minute)
      .Add("seconds_left", SecondsOf(run.left))
      .Add("seconds_left_least", SecondsOf(run.left_least))
      .Add("seconds_left_most", SecondsOf(run.left_most))
      .AddRaw("paused", run.paused ? "true" : "false");
  AddClient(run.client, &line);
  line.Add("cost_usd", run.cost_usd)
      .Add("projected_usd", run.projected_usd.value_or(kUnknown))
      .Add("spent_usd", run.spent_usd)
      .Add("max_spend_usd", run.max_spend_usd.value_or(kUnknown))
      .AddRaw("endpoints", List(run.endpoints, EndpointJson))
      .AddRaw("targets", List(run.sinks, TargetJson))
      .AddRaw("rejects", List(run.rejects, RejectedJson))
      .AddRaw("waited_for", WaitJson(run.waits))
      .AddRaw("recently_waited_for", WaitJson(run.recent_waits));
  return line.ToString();
}

}  // namespace reembed
