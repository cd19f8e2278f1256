// SPDX-License-Identifier: Apache-2.0
#include "tools/stage_progress.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/counted.h"
#include "tools/format.h"

namespace reembed {
namespace {

constexpr absl::Duration kTellingTime = absl::Seconds(1);  // a rate of less says nothing

std::string Amount(int64_t count, StageUnit unit) {
  return unit == StageUnit::kBytes ? BytesText(count) : WithCommas(count);
}

}  // namespace

std::string StageLine(const StageView& view, size_t columns) {
  const char* const rows = view.unit == StageUnit::kRows ? " rows" : "";
  if (view.done == 0 && view.total == 0) {
    std::vector<LinePart> parts = {{3, view.stage}, {2, DurationText(view.elapsed)}};
    if (!view.place.empty()) parts.push_back({1, view.place});
    return FitParts(std::move(parts), columns);
  }
  std::vector<LinePart> parts = {
      {9, absl::StrCat(view.stage, " ", Amount(view.done, view.unit),
                       view.total > 0 ? absl::StrCat(" of ", Amount(view.total, view.unit)) : "", rows)}};
  if (view.total > 0) {
    const double part = std::min(1.0, static_cast<double>(view.done) / static_cast<double>(view.total));
    parts.push_back({8, absl::StrFormat("%.1f %%", 100 * part)});
  }
  if (view.elapsed >= kTellingTime && view.done > view.begun) {
    const double rate = static_cast<double>(view.done - view.begun) / absl::ToDoubleSeconds(view.elapsed);
    parts.push_back({4, absl::StrCat(Amount(static_cast<int64_t>(rate), view.unit), rows, "/s")});
    if (view.total > view.done) {
      const absl::Duration left = absl::Seconds(static_cast<double>(view.total - view.done) / rate);
      parts.push_back({7, absl::StrCat(DurationText(left), " left")});
    }
  }
  if (!view.place.empty()) parts.push_back({1, view.place});
  return FitParts(std::move(parts), columns);
}

StageProgress::StageProgress(ProgressStyle style)
    : began_(MonotonicNow()),
      line_(style, {.look = nullptr,
                    .show =
                        [this](const LineRoom& room) {
                          const StageView view = Look();
                          return ShownProgress{view.stage.empty() ? "" : StageLine(view, room.columns), {}};
                        },
                    .json =
                        [this] {
                          const StageView view = Look();
                          if (view.stage.empty()) return std::string();
                          JsonLine line("status");
                          return line.Add("stage", view.stage)
                              .Add("place", view.place)
                              .Add("done", view.done)
                              .Add("total", view.total)
                              .Add("unit", view.unit == StageUnit::kRows ? "rows" : "bytes")
                              .Add("elapsed_seconds", absl::ToDoubleSeconds(view.elapsed))
                              .ToString();
                        }}) {}

bool StageProgress::Begin(absl::string_view stage) {
  if (view_.stage == stage && view_.place == place_) return false;
  view_ = {.stage = std::string(stage), .place = place_};
  measure_ = nullptr;
  began_ = MonotonicNow();
  return true;
}

void StageProgress::At(std::string place) {
  const MutexLock lock(&mutex_);
  place_ = std::move(place);
}

void StageProgress::Set(absl::string_view stage, int64_t done, int64_t total, StageUnit unit) {
  const MutexLock lock(&mutex_);
  if (Begin(stage)) view_.begun = done;
  // Threads may tell in another order.
  view_.done = std::max(view_.done, done);
  view_.total = total;
  view_.unit = unit;
}

void StageProgress::Measure(absl::string_view stage, int64_t total, StageUnit unit, std::function<int64_t()> done) {
  const MutexLock lock(&mutex_);
  Begin(stage);
  view_.total = total;
  view_.unit = unit;
  measure_ = std::move(done);
}

StageView StageProgress::Look() {
  const MutexLock lock(&mutex_);
  if (measure_) view_.done = std::max(view_.done, measure_());
  StageView view = view_;
  view.elapsed = MonotonicNow() - began_;
  return view;
}

}  // namespace reembed
