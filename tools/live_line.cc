// SPDX-License-Identifier: Apache-2.0
#include "tools/live_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(200);
constexpr absl::Duration kLineInterval = absl::Seconds(30);
constexpr absl::Duration kJsonInterval = absl::Seconds(1);  // asked for by a program, which draws something of its own
constexpr size_t kUsualColumns = 80;

// Asked for each time: windows are made wider and narrower.
LineRoom RoomOfTerminal() {
  size_t columns = kUsualColumns, rows = 0;
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    columns = size.ws_col;
    rows = size.ws_row;
  }
  // Without the last column: what fills it makes some terminals begin a new line.
  return {.columns = std::max<size_t>(columns, 2) - 1, .panel = columns >= kPanelColumns && rows >= kPanelRows};
}

}  // namespace

ProgressStyle ProgressStyleOf(const std::string& word, bool quiet) {
  if (word == "off" || quiet) return ProgressStyle::kOff;
  if (word == "json") return ProgressStyle::kJsonLines;
  const char* const terminal = std::getenv("TERM");
  const bool can_draw = isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string(terminal) != "dumb";
  return can_draw || word == "on" ? ProgressStyle::kLine : ProgressStyle::kLines;
}

std::string FitParts(std::vector<LinePart> parts, size_t columns) {
  for (;;) {
    std::string line;
    for (const LinePart& part : parts) absl::StrAppend(&line, line.empty() ? "" : ", ", part.text);
    if (line.size() <= columns) return line;
    if (parts.size() == 1) return line.substr(0, columns);
    parts.erase(std::min_element(parts.begin(), parts.end(),
                                 [](const LinePart& a, const LinePart& b) { return a.weight < b.weight; }));
  }
}

std::string DrawnOver(const std::string& line, const std::vector<std::string>& below) {
  std::string drawn = absl::StrCat("\r\033[K", line, "\033[J");
  for (const std::string& each : below) absl::StrAppend(&drawn, "\r\n", each);
  if (!below.empty()) absl::StrAppend(&drawn, "\033[", below.size(), "A\r");
  if (!below.empty() && !line.empty()) absl::StrAppend(&drawn, "\033[", line.size(), "C");
  return drawn;
}

LiveLine::LiveLine(ProgressStyle style, Work work) : style_(style), work_(std::move(work)) {
  if (style_ != ProgressStyle::kOff) thread_ = std::jthread([this](const std::stop_token& done) { Loop(done); });
}

LiveLine::~LiveLine() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  if (style_ == ProgressStyle::kLine) std::fputs(DrawnOver("", {}).c_str(), stderr);
}

void LiveLine::Loop(const std::stop_token& done) {
  const absl::Duration interval = style_ == ProgressStyle::kLine        ? kLookInterval
                                  : style_ == ProgressStyle::kJsonLines ? kJsonInterval
                                                                        : kLineInterval;
  Moment next_show = MonotonicNow() + interval;
  Mutex mutex;
  std::condition_variable_any never;
  MutexLock lock(&mutex);
  while (!never.wait_for(lock, done, absl::ToChronoNanoseconds(kLookInterval), [] { return false; })) {
    if (done.stop_requested()) return;
    if (work_.look) work_.look();
    if (MonotonicNow() < next_show) continue;
    next_show += interval;
    Show();
  }
}

void LiveLine::Show() const {
  if (style_ == ProgressStyle::kJsonLines) {
    const std::string line = work_.json();
    if (line.empty()) return;
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
    return;
  }
  const bool draws = style_ == ProgressStyle::kLine;
  const ShownProgress shown =
      work_.show(draws ? RoomOfTerminal() : LineRoom{.columns = std::numeric_limits<size_t>::max()});
  if (shown.line.empty()) return;
  // In one call, as other threads say something, too.
  std::fputs((draws ? DrawnOver(shown.line, shown.below) : absl::StrCat(shown.line, "\n")).c_str(), stderr);
}

}  // namespace reembed
