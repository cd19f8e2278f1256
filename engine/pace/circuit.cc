// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/circuit.h"

#include <algorithm>

namespace reembed {

bool Circuit::Answered(Moment left_at) {
  if (open_ && left_at < opened_at_) return false;
  const bool ended = open_;
  ever_answered_ = true;
  open_ = probe_out_ = false;
  failures_ = 0;
  return ended;
}

void Circuit::Failed(Moment left_at, Moment now) {
  if (failures_++ == 0) failing_since_ = now;
  if (open_) return ProbeLost(left_at, now);
  if (!ever_answered_ || failures_ < options_.failures_to_open) return;
  open_ = true;
  opened_at_ = now;
  between_ = options_.first_probe;
  next_probe_ = now + between_;
}

void Circuit::ProbeLost(Moment left_at, Moment now) {
  // Requests that left before the probe may still come back in great number.
  if (!open_ || !probe_out_ || left_at < probe_left_) return;
  probe_out_ = false;
  between_ = std::min(between_ * 1.5, options_.longest_between_probes);
  next_probe_ = now + between_;
}

Moment Circuit::NextStart(Moment now) const {
  if (!open_) return now;
  return probe_out_ ? absl::InfiniteDuration() : std::max(now, next_probe_);
}

void Circuit::Sent(Moment now) {
  if (!open_) return;
  probe_out_ = true;
  probe_left_ = now;
}

}  // namespace reembed
