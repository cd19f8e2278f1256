// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/pacer.h"

#include <algorithm>
#include <limits>

namespace reembed {
namespace {

// For each request that is answered so many may be sent again after a failure; ten in any run. What is saved up covers
// one failure of everything that is in the air.
constexpr double kRetryShare = 0.1;
constexpr double kRetriesToBeginWith = 10;
constexpr int kLeastSavedRetries = 100;
// Of the requests sent for the first time so many are sent a second time because they take long.
constexpr double kHedgeShare = 0.05;
constexpr double kNoMost = std::numeric_limits<double>::infinity();

// Before the first answer nobody knows how small the quota is, unless somebody said so.
constexpr int kFirstRequests = 2;
constexpr int kFirstRequestsKnown = 8;
// Behind it likewise, but a quarter of what is allowed at most: what the first answer was for may be much smaller than
// what follows, and a server with one place must come to the last of them before it is too late.
constexpr int kQuarter = 4;

bool IsGiven(const RateLimit& limit) { return limit.requests_per_minute > 0 || limit.tokens_per_minute > 0; }

}  // namespace

Pacer::Pacer(const PacerOptions& options)
    : limiter_(options.limit, options.shared_quota),
      concurrency_({.max = options.concurrency,
                    .initial = IsGiven(options.limit) ? kFirstRequestsKnown : kFirstRequests,
                    .after_first = std::min(kFirstRequestsKnown, options.concurrency / kQuarter)}),
      fixed_concurrency_(options.fixed_concurrency ? options.concurrency : 0),
      counts_as_(options.counts_as),
      circuit_({.first_probe = options.retry.first_backoff,
                .longest_between_probes = 2 * options.retry.first_backoff,
                .give_up_after = options.retry.outage_limit()}),
      retries_(kRetryShare, kRetriesToBeginWith, std::max(kLeastSavedRetries, options.concurrency)),
      slow_retries_(kRetryShare, 2 * options.retry.first_backoff),
      hedges_(kHedgeShare, 0, kNoMost) {}

Moment Pacer::TryStart(SendReason reason, int64_t tokens, Moment now, Departure* departure) {
  if (paused()) return absl::InfiniteDuration();
  const bool hedge = reason == SendReason::kHedge;
  if (hedge && (circuit_.open() || !hedges_.Allows())) return absl::InfiniteDuration();
  if (!hedge && in_air_ >= concurrency() && !circuit_.open()) return absl::InfiniteDuration();
  const bool probe = circuit_.open();
  if (const Moment next = circuit_.NextStart(now); next > now) return next;
  const bool paid = reason == SendReason::kFailed && !probe;
  if (paid && !retries_.Allows()) {
    // Before anything was ever answered attempts are counted, and the run shall find out soon; alone it harms nobody.
    const bool alone = !ever_well_ && in_air_ == 0;
    if (!alone && slow_retries_.Next() > now) return slow_retries_.Next();
  }
  if (const Moment start = limiter_.TryStart(tokens, now, departure); start > now) return start;
  if (paid) {
    if (!retries_.Allows()) slow_retries_.Sent(now);
    retries_.Spend();
  }
  if (hedge) hedges_.Spend();
  if (reason == SendReason::kFirst) hedges_.Earn();
  circuit_.Sent(now);
  ++in_air_;
  return now;
}

absl::Duration Pacer::QuotaWait(int64_t tokens, Moment now) const {
  if (paused() || circuit_.open() || in_air_ >= concurrency()) return absl::ZeroDuration();
  return limiter_.NextStart(tokens, now) - now;
}

void Pacer::Obey(const PaceWish& wish, Moment now) {
  if (wish.paused && !paused()) paused_since_ = now;
  if (!wish.paused && paused()) {
    circuit_.Rested(now - *paused_since_);
    paused_since_ = std::nullopt;
  }
  if (wish.requests_per_minute.has_value() || wish.tokens_per_minute.has_value()) {
    const auto requests = wish.requests_per_minute;
    limiter_.SetGiven(requests.has_value() ? *requests / counts_as_ : limiter_.given_requests_per_minute(),
                      wish.tokens_per_minute.value_or(limiter_.given_tokens_per_minute()), now);
  }
  if (wish.concurrency.has_value()) {
    if (fixed_concurrency_ > 0) fixed_concurrency_ = *wish.concurrency;
    concurrency_.SetMax(*wish.concurrency, now);
  }
}

Pacer::Change Pacer::Ended(const Departure& departure, SendOutcome outcome, Moment now) {
  const bool full = in_air_ >= concurrency();
  --in_air_;
  Change change;
  ever_well_ |= outcome == SendOutcome::kOk || outcome == SendOutcome::kAnswered;
  switch (outcome) {
    case SendOutcome::kOk:
    case SendOutcome::kAnswered:
    case SendOutcome::kRefused:
      change.outage_began = now - circuit_.FailingFor(now);
      change.outage_ended = circuit_.Answered(departure.at);
      if (change.outage_ended) concurrency_.OutageEnded(now);
      break;
    case SendOutcome::kFailed:
      slow_retries_.Failed();
      circuit_.Failed(departure.at, now);
      if (!circuit_.open()) concurrency_.Overloaded(departure.at, now);
      break;
    case SendOutcome::kDropped:
      circuit_.ProbeLost(departure.at, now);
      break;
  }
  if (outcome == SendOutcome::kOk || outcome == SendOutcome::kAnswered) {
    retries_.Earn();
    slow_retries_.Answered();
  }
  if (outcome == SendOutcome::kOk) {
    limiter_.Accepted(now);
    concurrency_.Answered(departure.at, std::max<int64_t>(1, departure.tokens), full, now);
  }
  // Servers without a quota refuse when they have too much at a time.
  if (outcome == SendOutcome::kRefused && !limiter_.knows_limits()) concurrency_.Overloaded(departure.at, now);
  return change;
}

}  // namespace reembed
