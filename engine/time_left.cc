// SPDX-License-Identifier: Apache-2.0
#include "engine/time_left.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace reembed {
namespace {

constexpr size_t kMostPoints = 1024;
// What is done before so much of all that is done says nothing about the pace: requests are few at first.
constexpr double kBeginning = 0.3;
constexpr int64_t kStretches = 8;
constexpr double kWidest = 2;
constexpr double kOwnWordFrom = 0.1;  // of the whole: from here on the run's own pace says it all

}  // namespace

void TimeLeft::Note(Moment now, int64_t done) {
  if (done <= points_.back().done) return;
  if (points_.size() == kMostPoints) {
    // The first stays, as does every second one behind it.
    size_t kept = 1;
    for (size_t i = 2; i < points_.size(); i += 2) points_[kept++] = points_[i];
    points_.resize(kept);
  }
  points_.push_back({now, done});
}

// The first point of those that tell the pace.
std::vector<TimeLeft::Point>::const_iterator TimeLeft::Telling() const {
  const double beginning = kBeginning * static_cast<double>(points_.back().done);
  const auto since = std::find_if(points_.begin(), points_.end() - 1,
                                  [=](const Point& point) { return static_cast<double>(point.done) >= beginning; });
  return since + 1 == points_.end() ? points_.begin() : since;
}

TimeLeft::Band TimeLeft::BandOf(absl::Duration estimate) const {
  const auto since = Telling();
  const int64_t lumps = points_.end() - since - 1;
  if (lumps < 2 * kStretches) return {estimate / kWidest, estimate * kWidest};
  // Stretches of as many lumps each, as a lump is where the pace can be measured.
  std::array<double, kStretches> paces;
  for (int64_t i = 0; i < kStretches; ++i) {
    const Point& from = since[i * lumps / kStretches];
    const Point& to = since[(i + 1) * lumps / kStretches];
    const double seconds = std::max(1e-9, absl::ToDoubleSeconds(to.at - from.at));
    paces[i] = static_cast<double>(to.done - from.done) / seconds;
  }
  const double mean = std::accumulate(paces.begin(), paces.end(), 0.0) / kStretches;
  double squares = 0;
  for (const double pace : paces) squares += (pace - mean) * (pace - mean);
  const double error = 2 * std::sqrt(squares / (kStretches - 1) / kStretches) / mean;
  return {estimate / std::min(kWidest, 1 + error), estimate / std::max(1 / kWidest, 1 - error)};
}

std::optional<absl::Duration> TimeLeft::Estimate(Moment now, int64_t total, const Limits& limits) const {
  const Point& last = points_.back();
  const auto left = static_cast<double>(std::max<int64_t>(0, total - last.done));
  if (left == 0) return absl::ZeroDuration();
  const double by_limits = limits.rows_per_second > 0 ? left / limits.rows_per_second : 0;
  // Rows that came at the very beginning have no pace.
  if (points_.size() == 1 || last.at == points_.front().at) {
    if (by_limits == 0) return std::nullopt;
    return absl::Seconds(by_limits) + limits.pause;
  }
  const auto since = Telling();
  absl::Duration longest_gap;
  for (auto point = since; point + 1 != points_.end(); ++point) {
    longest_gap = std::max(longest_gap, (point + 1)->at - point->at);
  }
  const double own = left * absl::ToDoubleSeconds(last.at - since->at) / static_cast<double>(last.done - since->done);
  const double share = std::min(1.0, static_cast<double>(last.done) / (kOwnWordFrom * static_cast<double>(total)));
  const double seconds = by_limits > 0 ? std::max(own * share + by_limits * (1 - share), by_limits) : own;
  // The next lump is on its way. If it is late, nothing is known of when it comes.
  const absl::Duration on_its_way = std::min(now - last.at, longest_gap);
  const absl::Duration beyond_usual = std::max(absl::ZeroDuration(), limits.pause - (longest_gap - on_its_way));
  return std::max(absl::ZeroDuration(), absl::Seconds(seconds) - on_its_way) + beyond_usual;
}

}  // namespace reembed
