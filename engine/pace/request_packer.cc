// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/request_packer.h"

#include <algorithm>
#include <utility>

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

RequestPacker::RequestPacker(const BatchLimits& limits, const TokenEstimator* estimator, int64_t quota_tokens,
                             LearnedCapsOfAll learned)
    : max_texts_(limits.max_texts),
      max_tokens_(limits.max_tokens),
      quota_tokens_(quota_tokens),
      estimator_(estimator),
      learned_(std::move(learned)) {}

void RequestPacker::Begin() {
  caps_ = {};
  for (const std::shared_ptr<const LearnedCaps>& learned : learned_) {
    const RequestCaps own = learned->caps();
    caps_ = {.texts = std::min(caps_.texts, own.texts),
             .tokens = std::min(caps_.tokens, own.tokens),
             .bytes = std::min(caps_.bytes, own.bytes)};
  }
}

bool RequestPacker::Takes(const RequestSize& size, const RequestSize& more) const {
  // One text above the limit goes alone: the provider, not our estimate, decides whether it is too long.
  if (size.texts == 0) return true;
  const int64_t tokens = size.tokens + more.tokens;
  if (size.texts + more.texts > caps_.texts || tokens > caps_.tokens || size.bytes + more.bytes > caps_.bytes) {
    return false;
  }
  const auto together = static_cast<double>(tokens);
  const double share = estimator_ == nullptr ? 1.0 : estimator_->PackedShare();
  if (max_tokens_ > 0 && together > share * static_cast<double>(max_tokens_)) return false;
  if (quota_tokens_ > 0 && tokens > quota_tokens_) return false;
  const auto most = static_cast<double>(std::min<int64_t>(max_texts_, caps_.texts));
  const bool filled = size.texts >= kFilledFirst * most;
  return !filled || mean_tokens_ == 0 || together <= kAboveMean * mean_tokens_ * most;
}

void RequestPacker::Close(int texts, int64_t tokens) {
  if (texts == 0) return;
  const double mean = static_cast<double>(tokens) / texts;
  mean_tokens_ = mean_tokens_ == 0 ? mean : mean_tokens_ + kNewestShare * (mean - mean_tokens_);
}

std::vector<RequestSpan> CutIntoRequests(const Batch& batch, int max_texts, const RateLimit& quota,
                                         const LearnedCaps& learned) {
  const absl::Span<const BatchText> texts = batch.texts();
  const int count = static_cast<int>(texts.size());
  // Passed by the parts of one very long text, and where endpoints have different quotas.
  const int64_t quota_tokens = QuotaTokensPerRequest(quota);
  const int64_t limit = batch.limits().max_tokens;
  const int64_t max_tokens =
      limit > 0 && quota_tokens > 0 ? std::min(limit, quota_tokens) : std::max(limit, quota_tokens);
  const int most = max_texts > 0 ? max_texts : count;
  std::vector<char> wanted(count);
  for (int i = 0; i < count; ++i) wanted[i] = texts[i].reject.ok() && !texts[i].answered ? 1 : 0;
  for (const Reply& reply : batch.replies()) std::fill_n(wanted.begin() + reply.first_text, reply.texts, 0);
  std::vector<RequestSpan> requests;
  for (int first = 0, end = 0; first < count; first = std::max(end, first + 1)) {
    int64_t tokens = 0;
    int fitting = most;
    for (end = first; end < count && wanted[end]; ++end) {
      if (const int own = texts[end].trouble.most; own > 0) fitting = std::min(fitting, own);
      tokens += texts[end].tokens;
      if (end > first && (end - first >= fitting || (max_tokens > 0 && tokens > max_tokens))) break;
    }
    if (end == first) continue;
    end = first + learned.Fitting(texts.subspan(first, end - first));
    requests.push_back({first, end - first});
  }
  return requests;
}

std::vector<int> CutRefused(absl::Span<const BatchText> texts, const Excess& excess, LearnedCaps* learned) {
  learned->Refused(texts, excess);
  const int count = static_cast<int>(texts.size());
  const bool too_much = excess.measure != Measure::kNone && excess.measure != Measure::kTextTokens;
  const int fitting = too_much ? learned->Fitting(texts) : count;
  int next = fitting < count ? fitting : count / 2;
  std::vector<int> counts;
  for (int begin = 0; begin < count;) {
    counts.push_back(next);
    begin += next;
    next = too_much ? learned->Fitting(texts.subspan(begin)) : count - begin;
  }
  return counts;
}

}  // namespace reembed
