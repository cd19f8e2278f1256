// SPDX-License-Identifier: Apache-2.0
#include "engine/run_snapshot.h"

#include <algorithm>
#include <utility>

namespace reembed {
namespace {

// Endpoints are the same in all streams; the latest state is the true one.
void AddEndpoint(const EndpointReport& from, std::vector<EndpointReport>* to) {
  for (EndpointReport& report : *to) {
    if (report.name != from.name) continue;
    const EndpointReport before = std::exchange(report, from);
    Add(before.stats, &report.stats);
    report.texts += before.texts;
    return;
  }
  to->push_back(from);
}

void AddSink(const SinkProgress& from, std::vector<SinkProgress>* to) {
  const auto same =
      std::find_if(to->begin(), to->end(), [&](const SinkProgress& sink) { return sink.name == from.name; });
  if (same == to->end()) {
    to->push_back(from);
    return;
  }
  same->position += from.position;
  same->rows_written += from.rows_written;
  same->rows_refused += from.rows_refused;
}

void AddRejects(const RejectedFor& from, std::vector<RejectedFor>* to) {
  const auto same =
      std::find_if(to->begin(), to->end(), [&](const RejectedFor& rejected) { return rejected.reason == from.reason; });
  if (same == to->end()) {
    to->push_back(from);
  } else {
    same->rows += from.rows;
  }
}

}  // namespace

void Add(const JobCounts& from, JobCounts* to) {
  to->rows += from.rows;
  to->rows_done += from.rows_done;
  to->rows_rejected += from.rows_rejected;
  to->rows_gone += from.rows_gone;
  to->rows_pending += from.rows_pending;
  to->texts += from.texts;
  to->texts_kept += from.texts_kept;
  to->texts_possibly_rebought += from.texts_possibly_rebought;
  to->texts_damaged += from.texts_damaged;
}

void Add(const ClientStats& from, ClientStats* to) {
  to->requests += from.requests;
  to->requests_retried += from.requests_retried;
  to->texts_dropped += from.texts_dropped;
  to->texts_unanswered += from.texts_unanswered;
  to->requests_hedged += from.requests_hedged;
  to->http_429 += from.http_429;
  to->tokens += from.tokens;
}

void Add(const RunSnapshot& from, RunSnapshot* to) {
  const bool first = to->elapsed == absl::ZeroDuration();
  to->elapsed += from.elapsed;
  Add(from.before, &to->before);
  Add(from.now, &to->now);
  to->rows_left += from.rows_left;
  // Of which nobody knows how many rows it comes to, the sum does not say either.
  if (first) {
    to->rows_expected = from.rows_expected;
  } else {
    to->rows_expected = to->rows_expected < 0 || from.rows_expected < 0 ? -1 : to->rows_expected + from.rows_expected;
  }
  to->rows_before += from.rows_before;
  to->rows_done += from.rows_done;
  to->rows_embedded += from.rows_embedded;
  to->rows_replayed += from.rows_replayed;
  to->rows_rejected += from.rows_rejected;
  to->rows_truncated += from.rows_truncated;
  to->rows_split += from.rows_split;
  to->rows_changed += from.rows_changed;
  to->passes = std::max(to->passes, from.passes);
  to->texts_embedded += from.texts_embedded;
  to->texts_damaged += from.texts_damaged;
  const double seconds = absl::ToDoubleSeconds(to->elapsed);
  to->rows_per_second = seconds > 0 ? static_cast<double>(to->rows_new()) / seconds : 0;
  to->left = from.left;
  to->left_least = from.left_least;
  to->left_most = from.left_most;
  to->recent = from.recent;
  to->paused = from.paused;
  Add(from.client, &to->client);
  for (const EndpointReport& report : from.endpoints) AddEndpoint(report, &to->endpoints);
  // What it will come to is that of the streams before and of this one.
  if (from.projected_usd.has_value()) {
    to->projected_usd = to->cost_usd + *from.projected_usd;
  } else {
    to->projected_usd = std::nullopt;
  }
  to->cost_usd += from.cost_usd;
  to->spent_usd = from.spent_usd;
  to->max_spend_usd = from.max_spend_usd;
  for (const SinkProgress& sink : from.sinks) AddSink(sink, &to->sinks);
  Add(from.waits, &to->waits);
  to->recent_waits = from.recent_waits;
  for (const RejectedFor& rejected : from.rejects) AddRejects(rejected, &to->rejects);
}

}  // namespace reembed
