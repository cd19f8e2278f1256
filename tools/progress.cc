#include "tools/progress.h"

#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/rate_limiter.h"
#include "tools/format.h"

namespace reembed {
namespace {

constexpr absl::Duration kDrawInterval = absl::Milliseconds(200);
constexpr absl::Duration kLineInterval = absl::Seconds(30);

double PerSecond(int64_t count, absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

}  // namespace

ProgressStyle ProgressStyleOf(const std::string& word) {
  if (word == "off") return ProgressStyle::kOff;
  if (word == "json") return ProgressStyle::kJsonLines;
  const char* const terminal = std::getenv("TERM");
  const bool can_draw = isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string(terminal) != "dumb";
  return can_draw || word == "on" ? ProgressStyle::kLine : ProgressStyle::kLines;
}

Progress::Progress(ProgressStyle style, const RunCounters* counters, const EmbeddingClient* client,
                   int64_t rows_expected)
    : style_(style), counters_(counters), client_(client), rows_expected_(rows_expected) {
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
  const absl::Duration interval = style_ == ProgressStyle::kLine ? kDrawInterval : kLineInterval;
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  while (!never.wait_for(lock, done, absl::ToChronoNanoseconds(interval), [] { return false; })) {
    if (done.stop_requested()) return;
    const absl::Duration elapsed = MonotonicNow() - start;
    switch (style_) {
      case ProgressStyle::kLine:
        std::fprintf(stderr, "\r\033[K%s", Text(elapsed).c_str());
        break;
      case ProgressStyle::kLines:
        std::fprintf(stderr, "%s\n", Text(elapsed).c_str());
        break;
      case ProgressStyle::kJsonLines:
        std::printf("%s\n", Json(elapsed).c_str());
        std::fflush(stdout);
        break;
      case ProgressStyle::kOff:
        return;
    }
  }
}

std::string Progress::Text(absl::Duration elapsed) const {
  const int64_t rows = counters_->rows_done + counters_->rows_rejected;
  const double rate = PerSecond(rows, elapsed);
  const ClientStats stats = client_->stats();
  std::string text = WithCommas(rows);
  if (rows_expected_ > 0) {
    absl::StrAppendFormat(&text, " of %s rows, %.1f %%", WithCommas(rows_expected_),
                          100.0 * static_cast<double>(rows) / static_cast<double>(rows_expected_));
  } else {
    absl::StrAppend(&text, " rows");
  }
  absl::StrAppendFormat(&text, ", %s rows/s", WithCommas(static_cast<int64_t>(rate)));
  if (rows_expected_ > rows && rate > 0) {
    absl::StrAppend(&text, ", ", DurationText(absl::Seconds(static_cast<double>(rows_expected_ - rows) / rate)),
                    " left");
  }
  absl::StrAppend(&text, ", ", WithCommas(stats.tokens), " tokens");
  if (stats.requests_retried > 0) absl::StrAppend(&text, ", ", WithCommas(stats.requests_retried), " retries");
  if (counters_->rows_rejected > 0) absl::StrAppend(&text, ", ", WithCommas(counters_->rows_rejected), " rejected");
  return text;
}

std::string Progress::Json(absl::Duration elapsed) const {
  const ClientStats stats = client_->stats();
  const int64_t rows = counters_->rows_done + counters_->rows_rejected;
  JsonLine line("status");
  line.Add("rows_done", counters_->rows_done.load())
      .Add("rows_rejected", counters_->rows_rejected.load())
      .Add("rows_expected", rows_expected_)
      .Add("requests", stats.requests)
      .Add("requests_retried", stats.requests_retried)
      .Add("tokens", stats.tokens)
      .Add("elapsed_seconds", absl::ToDoubleSeconds(elapsed))
      .Add("rows_per_second", PerSecond(rows, elapsed));
  return line.ToString();
}

}  // namespace reembed
