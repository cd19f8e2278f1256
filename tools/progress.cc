// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "tools/format.h"
#include "tools/time_left.h"
#include "tools/waits.h"

namespace reembed {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(200);
constexpr absl::Duration kLineInterval = absl::Seconds(30);
constexpr absl::Duration kJsonInterval = absl::Seconds(1);  // asked for by a program, which draws something of its own
// A quota is kept by short waits, of which nobody wants to hear.
constexpr absl::Duration kShownQuotaWait = absl::Seconds(1);
constexpr size_t kUsualColumns = 80;
constexpr int64_t kTellingRequests = 40;  // from here on what was asked says how many rows a request brings

double PerSecond(int64_t count, absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

// Asked for each time: windows are made wider and narrower.
size_t TerminalColumns() {
  struct winsize size;
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : kUsualColumns;
}

}  // namespace

ProgressStyle ProgressStyleOf(const std::string& word) {
  if (word == "off") return ProgressStyle::kOff;
  if (word == "json") return ProgressStyle::kJsonLines;
  const char* const terminal = std::getenv("TERM");
  const bool can_draw = isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string(terminal) != "dumb";
  return can_draw || word == "on" ? ProgressStyle::kLine : ProgressStyle::kLines;
}

std::string ProgressLine(const ProgressView& view, size_t columns) {
  struct Part {
    int weight;  // the lightest goes first
    std::string text;
  };
  std::vector<Part> parts;
  const bool known = view.rows_expected > 0;
  parts.push_back({9, known ? absl::StrCat(WithCommas(view.rows), " of ", WithCommas(view.rows_expected), " rows")
                            : absl::StrCat(WithCommas(view.rows), " rows")});
  if (known) {
    parts.push_back({8, absl::StrFormat("%.1f %%", 100.0 * static_cast<double>(view.rows) /
                                                       static_cast<double>(view.rows_expected))});
  }
  parts.push_back({4, absl::StrCat(WithCommas(static_cast<int64_t>(view.rows_per_second)), " rows/s")});
  if (view.left.has_value()) parts.push_back({7, absl::StrCat(DurationText(*view.left), " left")});
  if (view.client.quota_wait >= kShownQuotaWait && view.client.quota_wait < absl::InfiniteDuration()) {
    parts.push_back({6, absl::StrCat("waiting for quota, ", DurationText(view.client.quota_wait))});
  }
  if (const std::optional<WaitShare> slow = WhatHoldsUp(view.waits); slow.has_value()) {
    parts.push_back({6, absl::StrCat("held up by ", WaitText(*slow))});
  }
  if (view.client.tokens > 0) parts.push_back({2, absl::StrCat(WithCommas(view.client.tokens), " tokens")});
  if (view.client.requests_retried > 0) {
    parts.push_back({3, absl::StrCat(WithCommas(view.client.requests_retried), " retries")});
  }
  if (view.rows_rejected > 0) parts.push_back({5, absl::StrCat(WithCommas(view.rows_rejected), " rejected")});
  for (;;) {
    std::string line;
    for (const Part& part : parts) absl::StrAppend(&line, line.empty() ? "" : ", ", part.text);
    if (line.size() <= columns) return line;
    if (parts.size() == 1) return line.substr(0, columns);
    parts.erase(
        std::min_element(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.weight < b.weight; }));
  }
}

double RowsPerSecondOfQuota(const ClientStats& client, int64_t rows, int texts_per_request) {
  double rate = std::numeric_limits<double>::infinity();
  const int64_t answered = client.requests - client.in_the_air;
  if (client.requests_per_minute > 0) {
    // At the start most requests have asked for nothing but the model: they say little about how full the others are.
    double rows_per_request = texts_per_request;
    if (rows > 0 && answered > kTellingRequests) {
      rows_per_request = static_cast<double>(rows) / static_cast<double>(answered);
    }
    if (rows_per_request > 0) rate = client.requests_per_minute / 60 * rows_per_request;
  }
  if (client.tokens_per_minute > 0 && client.tokens > 0 && rows > 0) {
    rate =
        std::min(rate, client.tokens_per_minute / 60 * static_cast<double>(rows) / static_cast<double>(client.tokens));
  }
  return rate == std::numeric_limits<double>::infinity() ? 0 : rate;
}

Progress::Progress(ProgressStyle style, const RunCounters* counters, const EmbeddingClient* client,
                   const RunScope& scope)
    : style_(style), counters_(counters), client_(client), scope_(scope) {
  if (style_ != ProgressStyle::kOff) thread_ = std::jthread([this](const std::stop_token& done) { Loop(done); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  if (style_ == ProgressStyle::kLine) std::fputs("\r\033[K", stderr);
}

void Progress::Loop(const std::stop_token& done) {
  const Moment start = MonotonicNow();
  const absl::Duration interval = style_ == ProgressStyle::kLine        ? kLookInterval
                                  : style_ == ProgressStyle::kJsonLines ? kJsonInterval
                                                                        : kLineInterval;
  Moment next_show = start + interval;
  std::optional<TimeLeft> time_left;
  Mutex mutex;
  std::condition_variable_any never;
  MutexLock lock(&mutex);
  while (!never.wait_for(lock, done, absl::ToChronoNanoseconds(kLookInterval), [] { return false; })) {
    if (done.stop_requested()) return;
    const Moment now = MonotonicNow();
    ProgressView view{.rows_expected = scope_.rows >= 0 ? scope_.rows_before + scope_.rows : 0,
                      .rows_rejected = counters_->rows_rejected,
                      .client = client_->stats(),
                      .waits = counters_->waits.RecentShares()};
    const int64_t rows = counters_->rows_done + view.rows_rejected;
    view.rows = scope_.rows_before + rows;
    view.rows_per_second = PerSecond(rows, now - start);
    // What is only written comes first and fast, and says nothing about what is bought.
    const bool buys = scope_.rows > scope_.rows_bought;
    const int64_t paced = buys ? rows - std::min(counters_->rows_replayed.load(), scope_.rows_bought) : rows;
    if (!time_left.has_value() && (!buys || view.client.requests > 0)) time_left.emplace(now);
    if (time_left.has_value()) time_left->Note(now, paced);
    if (now < next_show) continue;
    next_show += interval;
    if (time_left.has_value() && scope_.rows >= 0) {
      const double most = buys ? RowsPerSecondOfQuota(view.client, paced, scope_.texts_per_request) : 0;
      const absl::Duration pause = view.client.quota_wait >= kShownQuotaWait && view.client.quota_wait < absl::Hours(24)
                                       ? view.client.quota_wait
                                       : absl::ZeroDuration();
      view.left = time_left->Estimate(now, scope_.rows - (buys ? scope_.rows_bought : 0),
                                      {.rows_per_second = most, .pause = pause});
    }
    Show(view, now - start);
  }
}

void Progress::Show(const ProgressView& view, absl::Duration elapsed) const {
  switch (style_) {
    case ProgressStyle::kLine: {
      // Without the last column: what fills it makes some terminals begin a new line.
      const size_t columns = std::max<size_t>(TerminalColumns(), 2) - 1;
      std::fprintf(stderr, "\r\033[K%s", ProgressLine(view, columns).c_str());
      break;
    }
    case ProgressStyle::kLines:
      std::fprintf(stderr, "%s\n", ProgressLine(view, std::numeric_limits<size_t>::max()).c_str());
      break;
    case ProgressStyle::kJsonLines:
      std::printf("%s\n", Json(view, elapsed).c_str());
      std::fflush(stdout);
      break;
    case ProgressStyle::kOff:
      break;
  }
}

std::string Progress::Json(const ProgressView& view, absl::Duration elapsed) const {
  JsonLine line("status");
  line.Add("rows_done", counters_->rows_done.load())
      .Add("rows_rejected", view.rows_rejected)
      .Add("rows_expected", scope_.rows)
      .Add("requests", view.client.requests)
      .Add("requests_retried", view.client.requests_retried)
      .Add("tokens", view.client.tokens)
      .Add("elapsed_seconds", absl::ToDoubleSeconds(elapsed))
      .Add("rows_per_second", view.rows_per_second)
      .Add("seconds_left", absl::ToDoubleSeconds(view.left.value_or(absl::InfiniteDuration())))
      .Add("quota_wait_seconds", absl::ToDoubleSeconds(view.client.quota_wait))
      .AddRaw("waited_for", WaitJson(view.waits));
  return line.ToString();
}

}  // namespace reembed
