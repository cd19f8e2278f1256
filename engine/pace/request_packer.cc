// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/request_packer.h"

#include <algorithm>

namespace reembed {
namespace {

constexpr double kAboveMean = 1.1;
constexpr double kFilledFirst = 0.75;  // of the texts that a request may have
constexpr double kNewestShare = 0.1;

constexpr double kQuotaSeconds = 0.5;

}  // namespace

int64_t QuotaTokensPerRequest(const RateLimit& limit) {
  if (limit.tokens_per_minute <= 0) return 0;
  double tokens = limit.tokens_per_minute / 60 * kQuotaSeconds;
  if (limit.requests_per_minute > 0) tokens = std::max(tokens, limit.tokens_per_minute / limit.requests_per_minute);
  return std::max<int64_t>(1, static_cast<int64_t>(tokens));
}

RequestPacker::RequestPacker(const BatchLimits& limits, const TokenEstimator* estimator, int64_t quota_tokens)
    : max_texts_(limits.max_texts),
      max_tokens_(limits.max_tokens),
      quota_tokens_(quota_tokens),
      estimator_(estimator) {}

bool RequestPacker::Takes(int texts, int64_t tokens, int64_t more_tokens) const {
  // One text above the limit goes alone: the provider, not our estimate, decides whether it is too long.
  if (texts == 0) return true;
  const auto together = static_cast<double>(tokens + more_tokens);
  const double share = estimator_ == nullptr ? 1.0 : estimator_->PackedShare();
  if (max_tokens_ > 0 && together > share * static_cast<double>(max_tokens_)) return false;
  if (quota_tokens_ > 0 && tokens + more_tokens > quota_tokens_) return false;
  const bool filled = texts >= kFilledFirst * max_texts_;
  return !filled || mean_tokens_ == 0 || together <= kAboveMean * mean_tokens_ * max_texts_;
}

void RequestPacker::Close(int texts, int64_t tokens) {
  if (texts == 0) return;
  const double mean = static_cast<double>(tokens) / texts;
  mean_tokens_ = mean_tokens_ == 0 ? mean : mean_tokens_ + kNewestShare * (mean - mean_tokens_);
}

}  // namespace reembed
