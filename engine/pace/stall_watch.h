// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_STALL_WATCH_H_
#define REEMBED_ENGINE_PACE_STALL_WATCH_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// Bounds a wait for somebody else's work, which may take as long as it likes while it moves: an index that a server
// fills, say. Pure logic; not thread-safe.
class StallWatch {
 public:
  explicit StallWatch(absl::Duration patience) : patience_(patience) {}

  // `state`: what is said of the work now, such as "100/1000". Whether it has been the same for the whole patience.
  bool IsStalled(absl::string_view state, Moment now) {
    if (state != state_ || since_ == absl::InfiniteDuration()) {
      state_ = std::string(state);
      since_ = now;
    }
    return now - since_ >= patience_;
  }

 private:
  const absl::Duration patience_;
  std::string state_;
  Moment since_ = absl::InfiniteDuration();
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_STALL_WATCH_H_
