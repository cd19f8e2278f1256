// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_RECENT_LATENCIES_H_
#define REEMBED_ENGINE_PACE_RECENT_LATENCIES_H_

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/time/time.h"

namespace reembed {

// The latencies of the last answers, to tell what is unusually late. Not thread-safe.
class RecentLatencies {
 public:
  void Add(absl::Duration latency) {
    last_[added_++ % kKept] = latency;
    if (added_ % kRenewEvery != 0 || added_ < kFewest) return;
    std::array<absl::Duration, kKept> sorted = last_;
    const size_t count = std::min(added_, kKept);
    auto* const place = sorted.begin() + static_cast<size_t>(kLateShare * static_cast<double>(count));
    std::nth_element(sorted.begin(), place, sorted.begin() + count);
    late_ = *place;
  }

  // 97 of 100 answers came sooner than this. Infinite while too few are known.
  absl::Duration Late() const { return late_; }

 private:
  static constexpr size_t kKept = 256;
  static constexpr size_t kFewest = 64;
  static constexpr size_t kRenewEvery = 16;
  static constexpr double kLateShare = 0.97;

  std::array<absl::Duration, kKept> last_{};
  size_t added_ = 0;
  absl::Duration late_ = absl::InfiniteDuration();
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_RECENT_LATENCIES_H_
