// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/rate_limiter.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/pace/shared_quota.h"

namespace reembed {
namespace {

// Sends are averaged over about so long.
constexpr double kFadeSeconds = 5;
// A reply's `remaining` was true at some moment after its request had left. Quota that flows back is credited to the
// provider's bucket only from so long after the departure on: about the way to the server.
constexpr absl::Duration kOnTheWay = absl::Milliseconds(50);

constexpr double kSlowestFoundRate = 1.0 / 60;  // per second
constexpr double kLowerUnknown = 0.5;           // of the rate, when no limit is known
constexpr double kLowerKnown = 0.9;             // when one is: somebody else uses the same quota
constexpr absl::Duration kBetweenLowerings = absl::Seconds(10);
constexpr double kNearCeiling = 0.9;              // of the rate at which refusals came
constexpr double kRise = 0.05, kRiseNear = 0.01;  // of that rate, per second

// Of two rates, of which 0 is none.
double NarrowerOf(double a, double b) { return a > 0 && b > 0 ? std::min(a, b) : std::max(a, b); }

}  // namespace

Moment MonotonicNow() { return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch()); }

void RateLimiter::Bucket::Flow(Moment now) {
  if (now <= at) return;
  if (per_second > 0) level = std::min(capacity, level + per_second * absl::ToDoubleSeconds(now - at));
  at = now;
}

void RateLimiter::Bucket::SetRate(double rate, absl::Duration burst) {
  per_second = rate;
  capacity = rate * absl::ToDoubleSeconds(burst);
  level = std::min(level, capacity);
}

void RateLimiter::Bucket::Narrow(Moment now, absl::Duration burst) {
  const double rate = NarrowerOf(given, said);
  Flow(now);
  if (rate == per_second) return;
  const bool first = per_second <= 0;
  SetRate(rate, burst);
  if (first) level = capacity;
}

absl::Duration RateLimiter::Bucket::TimeTo(double amount) const {
  if (per_second <= 0) return absl::ZeroDuration();
  const double needed = std::min(amount, capacity);
  // Waiting for exactly the missing part may leave a rounding error of it.
  if (level >= needed * (1 - 1e-9) - 1e-9) return absl::ZeroDuration();
  return absl::Seconds((needed - level) / per_second);
}

RateLimiter::RateLimiter(const RateLimit& limit, SharedQuota* shared) : burst_(limit.burst), shared_(shared) {
  const auto set = [&](double per_minute, Bucket* bucket) {
    if (per_minute <= 0) return;
    limits_known_since_ = -absl::InfiniteDuration();
    if (shared != nullptr) return;
    bucket->given = per_minute / 60;
    bucket->SetRate(bucket->given, burst_);
    bucket->level = bucket->capacity;
  };
  set(limit.requests_per_minute, &requests_);
  set(limit.tokens_per_minute, &tokens_);
}

double RateLimiter::requests_per_minute() const {
  const double own = requests_.per_second * 60;
  return shared_ != nullptr ? NarrowerOf(own, shared_->limit().requests_per_minute) : own;
}

double RateLimiter::tokens_per_minute() const {
  const double own = tokens_.per_second * 60;
  return shared_ != nullptr ? NarrowerOf(own, shared_->limit().tokens_per_minute) : own;
}

void RateLimiter::SetGiven(double requests_per_minute, double tokens_per_minute, Moment now) {
  for (const auto& [bucket, per_minute] : {std::pair(&requests_, requests_per_minute), {&tokens_, tokens_per_minute}}) {
    bucket->given = per_minute / 60;
    bucket->Narrow(now, burst_);
    if (per_minute > 0) limits_known_since_ = std::min(limits_known_since_, now);
  }
}

Moment RateLimiter::NextStart(int64_t tokens, Moment now) const {
  const Moment own = NextOwnStart(tokens, now);
  return shared_ != nullptr ? std::max(own, shared_->NextStart(tokens, now)) : own;
}

Moment RateLimiter::NextOwnStart(int64_t tokens, Moment now) const {
  if (paused_until_ > now) return paused_until_;
  absl::Duration wait;
  for (auto [bucket, amount] : {std::pair(requests_, 1.0), {tokens_, double(tokens)}, {found_, 1.0}}) {
    bucket.Flow(now);
    wait = std::max(wait, bucket.TimeTo(amount));
  }
  return now + wait;
}

Moment RateLimiter::TryStart(int64_t tokens, Moment now, Departure* departure) {
  if (const Moment next = NextOwnStart(tokens, now); next > now) return next;
  if (shared_ != nullptr) {
    if (const Moment next = shared_->TryStart(tokens, now); next > now) return next;
  }
  for (Bucket* const bucket : {&requests_, &tokens_, &found_}) bucket->Flow(now);
  requests_.level -= 1;
  tokens_.level -= static_cast<double>(tokens);
  found_.level -= 1;
  first_at_ = std::min(first_at_, now);
  recent_sends_ = 1 + recent_sends_ * std::exp(-absl::ToDoubleSeconds(now - recent_at_) / kFadeSeconds);
  recent_at_ = now;
  ++sent_requests_;
  sent_tokens_ += tokens;
  *departure = {.at = now, .tokens = tokens, .sent_requests = sent_requests_, .sent_tokens = sent_tokens_};
  return now;
}

double RateLimiter::SendRate(Moment now) const {
  const double seconds = std::max(0.2, absl::ToDoubleSeconds(now - first_at_));
  const double faded = recent_sends_ * std::exp(-absl::ToDoubleSeconds(now - recent_at_) / kFadeSeconds);
  return faded / (kFadeSeconds * (1 - std::exp(-seconds / kFadeSeconds)));
}

void RateLimiter::Correct(int64_t estimated, int64_t charged) {
  if (shared_ != nullptr) shared_->Tell({.tokens_back = estimated - charged}, MonotonicNow());
  tokens_.level = std::min(tokens_.capacity, tokens_.level + static_cast<double>(estimated - charged));
}

void RateLimiter::Learn(const QuotaReport& said, const Departure& departure, Moment now) {
  if (shared_ != nullptr) {
    const auto limit = [](double named) { return named > 0 && std::isfinite(named) ? named : 0; };
    const QuotaNews news{.requests_per_minute = limit(said.limit_requests),
                         .tokens_per_minute = limit(said.limit_tokens)};
    if (news.requests_per_minute <= 0 && news.tokens_per_minute <= 0) return;
    limits_known_since_ = std::min(limits_known_since_, now);
    return shared_->Tell(news, now);
  }
  QuotaReport report = said;
  // A refusal, and the wait it named, is newer than what an earlier request was told.
  if (departure.at <= pause_began_) report.remaining_requests = report.remaining_tokens = -1;
  LearnOne(report.limit_requests, report.remaining_requests,
           static_cast<double>(sent_requests_ - departure.sent_requests), 1, departure.at, now, &requests_);
  LearnOne(report.limit_tokens, report.remaining_tokens, static_cast<double>(sent_tokens_ - departure.sent_tokens),
           static_cast<double>(departure.tokens), departure.at, now, &tokens_);
  if (requests_.per_second > 0 || tokens_.per_second > 0) limits_known_since_ = std::min(limits_known_since_, now);
}

void RateLimiter::LearnOne(double limit, double remaining, double sent_since, double amount, Moment left_at, Moment now,
                           Bucket* bucket) const {
  if (!(limit > 0) || !std::isfinite(limit)) return;
  const double said = limit / 60;
  bucket->said = said;
  bucket->Narrow(now, burst_);
  if (!(remaining >= 0)) return;
  // `at` is ahead of us during a pause: the bucket's level is that at its end.
  const absl::Duration flowed = std::max(absl::ZeroDuration(), std::max(now, bucket->at) - left_at - kOnTheWay);
  const double at_provider = std::min(limit, remaining + said * absl::ToDoubleSeconds(flowed)) - sent_since;
  // Ours lets a request go at min(amount, capacity), theirs at `amount`: the two are the same moment.
  bucket->level = std::min(bucket->level, at_provider - amount + std::min(amount, bucket->capacity));
}

void RateLimiter::Pause(absl::Duration wait, Moment now) { paused_until_ = std::max(paused_until_, now + wait); }

void RateLimiter::Refused(const Departure& departure, absl::Duration wait, bool wait_is_named, Moment now) {
  if (departure.at <= pause_began_) {
    if (wait_is_named) Pause(wait, now);
    return;
  }
  if (shared_ != nullptr) shared_->Tell({.refused = wait}, now);
  pause_began_ = now;
  ++refusal_bursts_;
  Pause(wait, now);
  const bool known = knows_limits();
  // Requests that left before the limits were known say nothing about the pace since. And refusals that come whatever
  // the pace is must not bring it down to nothing.
  const bool mostly_refused = accepted_since_ < ++bursts_since_;
  const bool alone = shared_ == nullptr || !known;  // else all lower it together
  const bool lower = alone && (mostly_refused || now - lowered_at_ >= kBetweenLowerings);
  if (lower && (!known || departure.at >= limits_known_since_)) {
    lowered_at_ = now;
    accepted_since_ = bursts_since_ = 0;
    ceiling_ = SendRate(now);
    if (found_.per_second > 0) ceiling_ = std::min(ceiling_, found_.per_second);
    found_.SetRate(std::max(kSlowestFoundRate, ceiling_ * (known ? kLowerKnown : kLowerUnknown)), burst_);
  }
  // When the pause ends one request may leave if the provider has said so, or our own count allows it; nothing is saved
  // up for a burst behind it. A limit that the user gave holds whatever the provider says: refused requests count, too.
  const auto amount = static_cast<double>(departure.tokens);
  for (const auto& [bucket, one] : {std::pair(&requests_, 1.0), {&tokens_, amount}, {&found_, 1.0}}) {
    bucket->Flow(paused_until_);
    const double enough = std::min(bucket->capacity, one);
    const bool trusted = bucket == &found_ || (wait_is_named && bucket->given <= 0);
    bucket->level = trusted ? enough : std::min(bucket->level, enough);
  }
  rose_at_ = paused_until_;
}

void RateLimiter::Accepted(Moment now) {
  ++accepted_since_;
  if (found_.per_second <= 0 || now <= rose_at_) return;
  const double seconds = std::min(1.0, absl::ToDoubleSeconds(now - rose_at_));
  rose_at_ = now;
  // A rate that is not used up says nothing about a higher one.
  if (found_.per_second > 2 * SendRate(now)) return;
  found_.Flow(now);
  const double rise = found_.per_second < kNearCeiling * ceiling_ ? kRise : kRiseNear;
  found_.SetRate(found_.per_second + rise * ceiling_ * seconds, burst_);
}

}  // namespace reembed
