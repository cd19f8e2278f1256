// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/retry.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace reembed {
namespace {

constexpr int kMaxDoublings = 4;  // of the first backoff

}  // namespace

absl::Duration Backoff(const RetryPolicy& policy, int attempts, std::mt19937_64* random) {
  const int doublings = std::clamp(attempts - 1, 0, kMaxDoublings);
  const absl::Duration longest = std::min(policy.max_wait, policy.first_backoff * std::ldexp(1.0, doublings));
  return longest * std::uniform_real_distribution<double>(0, 1)(*random);
}

RetryWait WaitBeforeRetry(const RetryPolicy& policy, int attempts, const WaitHints& hints, absl::Time wall_clock,
                          std::mt19937_64* random) {
  const std::optional<absl::Duration> named = NamedWait(hints, wall_clock);
  if (!named.has_value()) return {.wait = Backoff(policy, attempts, random), .named = absl::ZeroDuration()};
  const absl::Duration wait = std::min(*named, policy.max_wait);
  const absl::Duration spread = std::min(wait / 4, absl::Seconds(1));
  return {.wait = wait + spread * std::uniform_real_distribution<double>(0, 1)(*random), .named = *named};
}

}  // namespace reembed
