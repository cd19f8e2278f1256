// SPDX-License-Identifier: Apache-2.0
#include "tools/stage_progress.h"

#include <algorithm>
#include <condition_variable>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/counted.h"
#include "tools/format.h"

namespace reembed {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(200);
constexpr absl::Duration kLineInterval = absl::Seconds(30);
constexpr absl::Duration kTellingTime = absl::Seconds(1);  // a rate of less says nothing

}  // namespace

std::string StageLine(const StageView& view) {
  std::string line = absl::StrCat(view.stage, " ", WithCommas(view.done));
  if (view.total > 0) absl::StrAppend(&line, " of ", WithCommas(view.total));
  absl::StrAppend(&line, " rows");
  const double part = view.total > 0 ? static_cast<double>(view.done) / static_cast<double>(view.total) : 0;
  if (view.total > 0) absl::StrAppend(&line, absl::StrFormat(", %.1f %%", 100 * part));
  if (view.elapsed < kTellingTime || view.done == 0) return line;
  const double rate = static_cast<double>(view.done) / absl::ToDoubleSeconds(view.elapsed);
  absl::StrAppend(&line, ", ", WithCommas(static_cast<int64_t>(rate)), " rows/s");
  if (view.total <= view.done) return line;
  return absl::StrCat(line, ", ", DurationText(absl::Seconds(static_cast<double>(view.total - view.done) / rate)),
                      " left");
}

StageProgress::StageProgress(ProgressStyle style) : style_(style), began_(MonotonicNow()) {
  if (style_ != ProgressStyle::kOff) thread_ = std::jthread([this](const std::stop_token& done) { Loop(done); });
}

StageProgress::~StageProgress() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  if (style_ == ProgressStyle::kLine) std::fputs("\r\033[K", stderr);
}

void StageProgress::Set(absl::string_view stage, int64_t done, int64_t total) {
  const MutexLock lock(&mutex_);
  if (view_.stage != stage) {
    view_.stage = std::string(stage);
    view_.done = 0;
    began_ = MonotonicNow();
  }
  // Threads may tell in another order.
  view_.done = std::max(view_.done, done);
  view_.total = total;
}

std::string StageProgress::Line() {
  const MutexLock lock(&mutex_);
  if (view_.stage.empty()) return "";
  StageView view = view_;
  view.elapsed = MonotonicNow() - began_;
  return style_ == ProgressStyle::kJsonLines
             ? JsonLine("status").Add("stage", view.stage).Add("done", view.done).Add("total", view.total).ToString()
             : StageLine(view);
}

void StageProgress::Loop(const std::stop_token& done) {
  const absl::Duration interval = style_ == ProgressStyle::kLine ? kLookInterval : kLineInterval;
  Mutex never;
  std::condition_variable_any changed;
  for (;;) {
    {
      MutexLock lock(&never);
      changed.wait_for(lock, done, absl::ToChronoNanoseconds(interval), [] { return false; });
    }
    if (done.stop_requested()) return;
    const std::string line = Line();
    if (line.empty()) continue;
    std::fputs((style_ == ProgressStyle::kLine ? absl::StrCat("\r\033[K", line) : absl::StrCat(line, "\n")).c_str(),
               stderr);
  }
}

}  // namespace reembed
