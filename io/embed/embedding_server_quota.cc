// SPDX-License-Identifier: Apache-2.0
#include "io/embed/embedding_server_quota.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace reembed {

EmbeddingServerQuota::EmbeddingServerQuota(const EmbeddingServerLimits& limits) {
  const double minutes = absl::FDivDuration(limits.window, absl::Minutes(1));
  requests_ = {.unit = "requests", .unit_name = "requests per min (RPM)", .per_minute = limits.requests_per_minute};
  tokens_ = {.unit = "tokens", .unit_name = "tokens per min (TPM)", .per_minute = limits.tokens_per_minute};
  requests_.capacity = requests_.level = std::max(1.0, requests_.per_minute * minutes);
  tokens_.capacity = tokens_.level = std::max(1.0, tokens_.per_minute * minutes);
}

void EmbeddingServerQuota::Bucket::Fill(absl::Duration passed) {
  level = std::min(capacity, level + per_minute * absl::FDivDuration(passed, absl::Minutes(1)));
}

absl::Duration EmbeddingServerQuota::Bucket::TimeTo(double wanted) const {
  if (per_minute <= 0 || level >= wanted) return absl::ZeroDuration();
  return absl::Ceil((wanted - level) / per_minute * absl::Minutes(1), absl::Milliseconds(1));
}

EmbeddingServerError EmbeddingServerQuota::Admit(absl::string_view model, int64_t tokens, absl::Duration now,
                                                 std::vector<std::pair<std::string, std::string>>* headers) {
  const MutexLock lock(&mutex_);
  const std::pair<Bucket*, double> wanted[] = {{&requests_, 1}, {&tokens_, static_cast<double>(tokens)}};
  EmbeddingServerError error;
  absl::Duration wait = absl::ZeroDuration();
  for (const auto& [bucket, amount] : wanted) {
    if (bucket->per_minute <= 0) continue;
    if (last_ > -absl::InfiniteDuration() && now > last_) bucket->Fill(now - last_);
    if (amount <= bucket->level || error.status != 0) continue;
    error = {.status = 429, .type = bucket->unit, .param = "", .code = "rate_limit_exceeded"};
    const std::string where = absl::StrCat(" for ", model, " on ", bucket->unit_name, ": Limit ", bucket->per_minute);
    if (amount > bucket->capacity) {
      error.message = absl::StrCat("Request too large", where, ", Requested ", amount, ".");
      continue;
    }
    wait = bucket->TimeTo(amount);
    error.message = absl::StrCat("Rate limit reached", where, ", Used ", bucket->capacity - bucket->level,
                                 ", Requested ", amount, ". Please try again in ", absl::FormatDuration(wait), ".");
  }
  last_ = std::max(last_, now);
  headers->clear();
  for (const auto& [bucket, amount] : wanted) {
    if (bucket->per_minute <= 0) continue;
    if (error.status == 0) bucket->level -= amount;
    headers->emplace_back(absl::StrCat("x-ratelimit-limit-", bucket->unit), absl::StrCat(bucket->per_minute));
    headers->emplace_back(absl::StrCat("x-ratelimit-remaining-", bucket->unit),
                          absl::StrCat(static_cast<int64_t>(std::max(0.0, bucket->level))));
    headers->emplace_back(absl::StrCat("x-ratelimit-reset-", bucket->unit),
                          absl::FormatDuration(bucket->TimeTo(bucket->capacity)));
  }
  if (wait > absl::ZeroDuration()) {
    headers->emplace_back("retry-after", absl::StrCat(absl::ToInt64Seconds(absl::Ceil(wait, absl::Seconds(1)))));
    headers->emplace_back("retry-after-ms", absl::StrCat(absl::ToInt64Milliseconds(wait)));
  }
  return error;
}

}  // namespace reembed
