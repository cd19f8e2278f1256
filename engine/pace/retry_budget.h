// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_RETRY_BUDGET_H_
#define REEMBED_ENGINE_PACE_RETRY_BUDGET_H_

#include <algorithm>

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// How many requests may be sent a second time: a share of what went well, some to begin with, so that small jobs have
// any, and never more than `most` at once, so that a long good time does not pay for a storm. Not thread-safe.
class RetryBudget {
 public:
  RetryBudget(double share, double to_begin_with, double most)
      : share_(share), most_(most), level_(std::min(to_begin_with, most)) {}

  void Earn() { level_ = std::min(most_, level_ + share_); }
  bool Allows() const { return level_ >= 1; }
  void Spend() { level_ = std::max(0.0, level_ - 1); }

 private:
  const double share_;
  const double most_;
  double level_;
};

// When a retry may leave that the budget does not cover. Without any, a run whose batches have all failed would never
// find out that the server is well again. The gap between two doubles with each failure and shrinks with each answer,
// in balance where as many fail as the budget covers: above that it is soon at its longest, and it vanishes when all
// goes well. Not thread-safe.
class RetryPace {
 public:
  // `share`: of the budget. The first gap is eight times shorter than the longest, the shortest a thousand times.
  RetryPace(double share, absl::Duration longest) : share_(share), longest_(longest), gap_(longest / 8) {}

  Moment Next() const { return last_ + gap_; }
  void Sent(Moment now) { last_ = now; }
  void Answered() { gap_ = std::max(longest_ / 1000, gap_ / (1 + share_ * kLog2)); }
  void Failed() { gap_ = std::min(longest_, 2 * gap_); }

 private:
  static constexpr double kLog2 = 0.693;

  const double share_;
  const absl::Duration longest_;
  absl::Duration gap_;
  Moment last_ = -absl::InfiniteDuration();
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_RETRY_BUDGET_H_
