// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "engine/location.h"
#include "engine/place_name.h"
#include "engine/shown_text.h"
#include "tools/endpoints.h"
#include "tools/format.h"
#include "tools/waits.h"

namespace reembed {
namespace {

constexpr size_t kNamedParts = 3;  // targets, endpoints and reasons each

std::string RateOf(double now, double quota) {
  std::string text = absl::StrCat(WithCommas(std::llround(now)), " a minute");
  if (quota > 0) absl::StrAppend(&text, " of ", WithCommas(std::llround(quota)));
  return text;
}

std::string BarLine(const RunSnapshot& run) {
  constexpr size_t kBar = 30;
  std::string text;
  const int64_t expected = run.rows_expected < 0 ? 0 : run.rows_before + run.rows_expected;
  if (expected > 0) {
    const double share = std::min(1.0, static_cast<double>(run.rows_through()) / static_cast<double>(expected));
    const auto full = static_cast<size_t>(kBar * share);
    text = absl::StrCat("[", std::string(full, '#'), std::string(kBar - full, '.'), "] ");
  }
  absl::StrAppend(&text, WithCommas(static_cast<int64_t>(run.recent.rows_per_second)), " rows/s now");
  if (run.left_least.has_value() && !run.paused && *run.left > absl::ZeroDuration()) {
    absl::StrAppend(&text, ", between ", DurationText(*run.left_least), " and ", DurationText(*run.left_most), " left");
  }
  return text;
}

std::string MoneyLine(const RunSnapshot& run) {
  std::string text = absl::StrCat("money     ", MoneyText(run.cost_usd));
  if (run.projected_usd.has_value()) absl::StrAppend(&text, ", ", MoneyText(*run.projected_usd), " at the end");
  if (run.max_spend_usd.has_value()) absl::StrAppend(&text, ", cap ", MoneyText(*run.max_spend_usd));
  return text;
}

}  // namespace

std::string ProgressLine(const RunSnapshot& run, size_t columns) {
  std::vector<LinePart> parts;
  const int64_t rows = run.rows_through();
  const int64_t expected = run.rows_expected < 0 ? 0 : run.rows_before + run.rows_expected;
  const bool known = expected > 0;
  parts.push_back({9, known ? absl::StrCat(WithCommas(rows), " of ", WithCommas(expected), " rows")
                            : absl::StrCat(WithCommas(rows), " rows")});
  if (known) {
    parts.push_back({8, absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(rows) / static_cast<double>(expected))});
  }
  parts.push_back({4, absl::StrCat(WithCommas(static_cast<int64_t>(run.rows_per_second)), " rows/s")});
  if (run.paused) {
    parts.push_back({7, "paused"});
  } else if (run.left.has_value()) {
    parts.push_back({7, absl::StrCat(DurationText(*run.left), " left")});
  }
  if (run.client.quota_wait >= kShownQuotaWait && run.client.quota_wait < absl::InfiniteDuration()) {
    parts.push_back({6, absl::StrCat("waiting for quota, ", DurationText(run.client.quota_wait))});
  }
  if (const std::optional<WaitShare> slow = WhatHoldsUp(run.recent_waits); slow.has_value()) {
    parts.push_back({6, absl::StrCat("held up by ", WaitText(*slow))});
  }
  if (run.client.tokens > 0) parts.push_back({2, absl::StrCat(WithCommas(run.client.tokens), " tokens")});
  if (run.client.requests_retried > 0) {
    parts.push_back({3, absl::StrCat(WithCommas(run.client.requests_retried), " retries")});
  }
  if (run.rows_rejected > 0) parts.push_back({5, absl::StrCat(WithCommas(run.rows_rejected), " rejected")});
  return FitParts(std::move(parts), columns);
}

std::vector<std::string> PanelLines(const RunSnapshot& run, size_t columns) {
  const ClientStats& client = run.client;
  std::vector<std::string> lines = {BarLine(run)};
  lines.push_back(absl::StrCat("requests  ", RateOf(run.recent.requests_per_minute, client.requests_per_minute), ", ",
                               client.in_the_air, " of ", client.concurrency, " in the air, ",
                               absl::ToInt64Milliseconds(client.latency), " ms"));
  lines.push_back(absl::StrCat("tokens    ", RateOf(run.recent.tokens_per_minute, client.tokens_per_minute)));
  if (run.cost_usd > 0 || run.max_spend_usd.has_value()) lines.push_back(MoneyLine(run));
  for (size_t i = 0; i < std::min(run.sinks.size(), kNamedParts); ++i) {
    const absl::StatusOr<Location> place = ParseLocation(run.sinks[i].name);
    lines.push_back(absl::StrCat("target    ", WithCommas(run.sinks[i].position), " rows in ",
                                 place.ok() ? PlaceName(*place) : run.sinks[i].name));
  }
  for (size_t i = 0; run.endpoints.size() > 1 && i < std::min(run.endpoints.size(), kNamedParts); ++i) {
    lines.push_back(EndpointLine(run.endpoints[i]));
  }
  for (size_t i = 0; i < std::min(run.rejects.size(), kNamedParts); ++i) {
    lines.push_back(absl::StrCat("rejected  ", WithCommas(run.rejects[i].rows), ": ", run.rejects[i].reason.message()));
  }
  if (lines.size() > kMostPanelLines) lines.resize(kMostPanelLines);
  constexpr size_t kDots = 3;  // that Shorten() adds
  for (std::string& line : lines) {
    line = ShownLine(line);
    if (line.size() > columns) line = Shorten(line, columns - std::min(columns, kDots));
  }
  return lines;
}

std::string ProgressJson(const RunSnapshot& run) {
  JsonLine line("status");
  line.Add("rows_done", run.rows_done)
      .Add("rows_rejected", run.rows_rejected)
      .Add("rows_expected", run.rows_expected)
      .Add("requests", run.client.requests)
      .Add("requests_retried", run.client.requests_retried)
      .Add("tokens", run.client.tokens)
      .Add("elapsed_seconds", absl::ToDoubleSeconds(run.elapsed))
      .Add("rows_per_second", run.rows_per_second)
      .Add("seconds_left", absl::ToDoubleSeconds(run.left.value_or(absl::InfiniteDuration())))
      .Add("quota_wait_seconds", absl::ToDoubleSeconds(run.client.quota_wait))
      .AddRaw("waited_for", WaitJson(run.recent_waits));
  return line.ToString();
}

Progress::Progress(ProgressStyle style, RunWatch* watch)
    : line_(style, {.look = [this, watch] { last_ = watch->Take(); },
                    .show =
                        [this](const LineRoom& room) {
                          return ShownProgress{ProgressLine(last_, room.columns), room.panel
                                                                                      ? PanelLines(last_, room.columns)
                                                                                      : std::vector<std::string>()};
                        },
                    .json = [this] { return ProgressJson(last_); }}) {}

}  // namespace reembed
