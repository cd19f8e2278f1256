// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_RECENT_PACE_H_
#define REEMBED_ENGINE_RECENT_PACE_H_

#include <cstdint>
#include <deque>

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// How fast a run goes now.
struct Pace {
  double rows_per_second = 0;
  double requests_per_minute = 0;
  double tokens_per_minute = 0;
};

// The pace of the last seconds. Pure logic, with the time as a parameter; not thread-safe.
class RecentPace {
 public:
  static constexpr absl::Duration kSpan = absl::Seconds(10);

  // What has come since the beginning, at this moment; fewer never.
  void Note(Moment now, int64_t rows, int64_t requests, int64_t tokens) {
    if (!looks_.empty() && now - looks_.back().at < kBetween) return;
    looks_.push_back({now, rows, requests, tokens});
    while (looks_.size() > 2 && now - looks_[1].at >= kSpan) looks_.pop_front();
  }

  // From the oldest look to the youngest; of fewer than two, nothing.
  Pace Get() const {
    if (looks_.size() < 2) return {};
    const Look& first = looks_.front();
    const Look& last = looks_.back();
    const double seconds = absl::ToDoubleSeconds(last.at - first.at);
    const auto rate = [&](int64_t from, int64_t to) { return static_cast<double>(to - from) / seconds; };
    return {.rows_per_second = rate(first.rows, last.rows),
            .requests_per_minute = 60 * rate(first.requests, last.requests),
            .tokens_per_minute = 60 * rate(first.tokens, last.tokens)};
  }

 private:
  static constexpr absl::Duration kBetween = absl::Milliseconds(400);
  struct Look {
    Moment at;
    int64_t rows, requests, tokens;
  };
  std::deque<Look> looks_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_RECENT_PACE_H_
