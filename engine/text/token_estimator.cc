// SPDX-License-Identifier: Apache-2.0
#include "engine/text/token_estimator.h"

#include <algorithm>
#include <cmath>

namespace reembed {
namespace {

constexpr int64_t kLongestToken = 128;      // bytes, in cl100k_base
constexpr int64_t kTokensAroundText = 2;    // that some models put around each text and charge for
constexpr double kMemoryBytes = 256 << 10;  // the average forgets what lies so far back (to 1/e)
constexpr int64_t kCalibratedBytes = 64 << 10;
constexpr double kShareOfGuess = 0.82;
constexpr double kShareOfLearnt = 0.92;  // texts differ from each other within a run

}  // namespace

int64_t TokenEstimator::Estimate(int64_t bytes) const {
  const auto tokens = static_cast<int64_t>(std::ceil(static_cast<double>(bytes) * tokens_per_byte_));
  const int64_t least = std::max<int64_t>(1, (bytes + kLongestToken - 1) / kLongestToken);
  return std::clamp(tokens, least, std::max(least, bytes));
}

void TokenEstimator::Learn(int64_t texts, int64_t bytes, int64_t tokens) {
  if (bytes <= 0 || tokens * kLongestToken < bytes || tokens > bytes + texts * kTokensAroundText) return;
  const double charged = static_cast<double>(tokens) / static_cast<double>(bytes);
  const MutexLock lock(&mutex_);
  // What was charged counts more than the guess at the start, however short the first texts are.
  const double before = static_cast<double>(bytes_learnt_);
  const double weight = static_cast<double>(bytes) / std::min(kMemoryBytes, before + static_cast<double>(bytes));
  tokens_per_byte_ = tokens_per_byte_ + std::min(1.0, weight) * (charged - tokens_per_byte_);
  bytes_learnt_ += bytes;
}

double TokenEstimator::PackedShare() const {
  return bytes_learnt_ >= kCalibratedBytes ? kShareOfLearnt : kShareOfGuess;
}

}  // namespace reembed
