// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/quota_lease.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace reembed {
namespace {

constexpr double kLeaseSeconds = 0.25;
constexpr int64_t kMostRequests = 100'000;
// What was granted and is not used by then goes back.
constexpr absl::Duration kKeep = absl::Seconds(1);
constexpr absl::Duration kBetweenNews = absl::Milliseconds(500);
constexpr absl::Duration kBetweenAsks = absl::Milliseconds(50);
constexpr absl::Duration kBetweenRetries = absl::Milliseconds(400);  // and up to half as much again
// Whoever wants something asks so often, until there is an answer.
constexpr absl::Duration kLookAgain = absl::Milliseconds(5);
// Who has sent nothing for so long needs no lease.
constexpr absl::Duration kIdle = absl::Seconds(1);
constexpr double kFading = 0.8;
// A server that grants at once has more to give; one that lets us wait for longer has others to serve.
constexpr absl::Duration kAtOnce = absl::Milliseconds(10);
constexpr absl::Duration kLongWait = absl::Milliseconds(250);

double Narrower(double a, double b) { return a <= 0 ? b : b <= 0 ? a : std::min(a, b); }

RateLimit Narrower(const RateLimit& a, const RateLimit& b) {
  return {.requests_per_minute = Narrower(a.requests_per_minute, b.requests_per_minute),
          .tokens_per_minute = Narrower(a.tokens_per_minute, b.tokens_per_minute)};
}

}  // namespace

QuotaLease::QuotaLease(std::string worker, const RateLimit& limit, uint64_t seed)
    : worker_(std::move(worker)), given_(limit), random_(seed), agreed_(limit) {}

RateLimit QuotaLease::limit() const { return agreed_; }

// A request may be somewhat larger than what is left: the difference is owed, and told with the next ask.
bool QuotaLease::Enough(int64_t requests, int64_t tokens, int64_t needed) const {
  if (counts_requests() && requests < 1) return false;
  return !counts_tokens() || tokens >= needed || (tokens > 0 && tokens >= needed / 2);
}

void QuotaLease::Advance(Moment now) {
  while (!upcoming_.empty() && upcoming_.front().begin <= now) {
    requests_ += upcoming_.front().requests;
    tokens_ += upcoming_.front().tokens;
    keep_until_ = std::max(keep_until_, upcoming_.front().begin + kKeep);
    upcoming_.pop_front();
  }
  if (now <= keep_until_) return;
  requests_back_ += std::exchange(requests_, 0);
  if (tokens_ > 0) tokens_back_ += std::exchange(tokens_, 0);
}

Moment QuotaLease::TryStart(int64_t tokens, Moment now) {
  Advance(now);
  wanted_at_ = now;
  next_tokens_ = tokens;
  if (paused_until_ > now) return paused_until_;
  Moment start = now;
  if (Enough(requests_, tokens_, tokens)) {
    requests_ = std::max<int64_t>(0, requests_ - 1);
    tokens_ -= counts_tokens() ? tokens : 0;
  } else if (alone_.has_value()) {
    Departure departure;
    start = alone_->TryStart(tokens, now, &departure);
  } else if (!is_unlimited()) {
    ran_dry_ = true;
    // What was granted may be void by then.
    return upcoming_.empty() ? now + kLookAgain : std::min(upcoming_.front().begin, now + kBetweenNews);
  }
  if (start <= now) {
    const auto own = static_cast<double>(tokens);
    mean_tokens_ = mean_tokens_ <= 0 ? own : kFading * mean_tokens_ + (1 - kFading) * own;
    ++sent_;
    // Whether there is another request shows when it asks; a whole lease for none would be one that somebody lacks.
    if (LeaseSize() < 2) wanted_at_ = -absl::InfiniteDuration();
  }
  return start;
}

Moment QuotaLease::NextStart(int64_t tokens, Moment now) const {
  if (paused_until_ > now) return paused_until_;
  if (is_unlimited() || Enough(requests_, tokens_, tokens)) return now;
  if (alone_.has_value()) return alone_->NextStart(tokens, now);
  return upcoming_.empty() ? now + kLookAgain : std::max(now, upcoming_.front().begin);
}

void QuotaLease::Tell(const QuotaNews& news, Moment now) {
  if (counts_tokens()) tokens_ += news.tokens_back;
  const RateLimit said =
      Narrower(said_, {.requests_per_minute = news.requests_per_minute, .tokens_per_minute = news.tokens_per_minute});
  if (said.requests_per_minute != said_.requests_per_minute || said.tokens_per_minute != said_.tokens_per_minute) {
    const RateLimit narrower = Narrower(said, agreed_);
    said_more_ |= narrower.requests_per_minute != agreed_.requests_per_minute ||
                  narrower.tokens_per_minute != agreed_.tokens_per_minute;
    said_ = said;
  }
  if (news.refused <= absl::ZeroDuration()) return;
  refusal_untold_ = true;
  refused_until_ = std::max(refused_until_, now + news.refused);
  if (alone_.has_value()) alone_->Pause(news.refused, now);
}

double QuotaLease::TokensOf(int64_t requests) const {
  return std::max(mean_tokens_ * static_cast<double>(requests), static_cast<double>(next_tokens_));
}

// In requests: what it will use in kLeaseSeconds.
int64_t QuotaLease::LeaseSize() const {
  const double seconds = kLeaseSeconds * boost_ / std::max(1, workers_);
  double requests = kMostRequests;
  if (counts_requests()) requests = agreed_.requests_per_minute / 60 * seconds;
  const double mean = std::max({1.0, mean_tokens_, mean_tokens_ <= 0 ? static_cast<double>(next_tokens_) : 0});
  // The first are a probe and a check of the model, whose few tokens say nothing about those that follow.
  if (counts_tokens())
    requests = std::min({requests, agreed_.tokens_per_minute / 60 * seconds / mean, static_cast<double>(1 + sent_)});
  return std::clamp<int64_t>(static_cast<int64_t>(requests), 1, kMostRequests);
}

// Half of a lease is left at most; of a lease for one request, nothing. Who stands in line does not ask for more.
bool QuotaLease::Lacks(Moment now) const {
  if (!upcoming_.empty() && upcoming_.back().begin > now + kLongWait) return false;
  int64_t requests = requests_, tokens = tokens_;
  for (const Upcoming& one : upcoming_) {
    requests += one.requests;
    tokens += one.tokens;
  }
  const int64_t lease = LeaseSize();
  if (!Enough(requests, tokens, next_tokens_)) return true;
  if (lease < 2) return false;
  return (counts_requests() && requests * 2 <= lease) ||
         (counts_tokens() && static_cast<double>(tokens) * 2 <= TokensOf(lease));
}

Moment QuotaLease::NextAsk(Moment now) const {
  if (asking_) return absl::InfiniteDuration();
  if (alone_.has_value()) return retry_at_;
  if (epoch_ == 0) return asked_at_ + kBetweenAsks;
  const bool wants = now - wanted_at_ < kIdle && paused_until_ <= now && !is_unlimited() && Lacks(now);
  return asked_at_ + (wants || refusal_untold_ || said_more_ ? kBetweenAsks : kBetweenNews);
}

QuotaAsk QuotaLease::Ask(Moment now) {
  Advance(now);
  asking_ = true;
  asked_at_ = now;
  said_more_ = false;
  refusal_being_told_ = std::exchange(refusal_untold_, false);
  QuotaAsk ask{.worker = worker_,
               .given = given_,
               .said = said_,
               .requests_back = std::exchange(requests_back_, 0),
               .tokens_back = std::exchange(tokens_back_, 0),
               .epoch = epoch_,
               .returns = alone_.has_value()};
  if (refusal_being_told_) ask.refused = std::max(refused_until_ - now, absl::Microseconds(1));
  if (tokens_ < 0) ask.tokens_back += std::exchange(tokens_, 0);
  if (now - wanted_at_ >= kIdle || paused_until_ > now || refusal_being_told_ || is_unlimited() || !Lacks(now))
    return ask;
  int64_t requests = requests_, tokens = tokens_;
  for (const Upcoming& one : upcoming_) {
    requests += one.requests;
    tokens += one.tokens;
  }
  const int64_t lease = LeaseSize();
  ask.requests = std::max<int64_t>(0, lease - requests);
  ask.tokens = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(TokensOf(lease))) - tokens);
  ask.least_tokens = std::clamp<int64_t>(next_tokens_ - tokens, 0, ask.tokens);
  return ask;
}

void QuotaLease::Answered(const QuotaGrant& grant, Moment now) {
  asking_ = false;
  alone_.reset();
  refusal_being_told_ = false;
  if (grant.epoch != epoch_) {
    upcoming_.clear();
    requests_ = 0;
    tokens_ = std::min<int64_t>(0, tokens_);
    requests_back_ = tokens_back_ = 0;
  }
  epoch_ = grant.epoch;
  workers_ = std::max(1, grant.workers);
  agreed_ = grant.limit;
  paused_until_ = now + grant.pause;
  if (grant.requests > 0 || grant.tokens > 0) {
    upcoming_.push_back({.begin = now + grant.begin, .requests = grant.requests, .tokens = grant.tokens});
    if (grant.begin <= kAtOnce && ran_dry_) boost_ = std::min(boost_ * 2, static_cast<double>(workers_));
    if (grant.begin > kLongWait) boost_ = std::max(1.0, boost_ / 2);
    ran_dry_ = false;
  }
}

void QuotaLease::Failed(Moment now) {
  asking_ = false;
  refusal_untold_ |= std::exchange(refusal_being_told_, false);
  retry_at_ = now + kBetweenRetries * (1 + Chance() / 2);
  if (alone_.has_value()) return;
  upcoming_.clear();
  alone_.emplace(RateLimit{.requests_per_minute = agreed_.requests_per_minute / workers_,
                           .tokens_per_minute = agreed_.tokens_per_minute / workers_});
  // All have lost the server at the same moment, and must not go on at the same one.
  double seconds = 0;
  if (counts_requests()) seconds = 60 / agreed_.requests_per_minute * workers_;
  if (counts_tokens()) seconds = std::max(seconds, 60 / agreed_.tokens_per_minute * workers_ * TokensOf(1));
  alone_->Pause(absl::Seconds(seconds) * Chance(), now);
}

double QuotaLease::Chance() {
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(random_ >> 40) / (1 << 24);
}

QuotaAsk QuotaLease::Leave(Moment now) {
  keep_until_ = -absl::InfiniteDuration();
  wanted_at_ = -absl::InfiniteDuration();
  while (!upcoming_.empty()) {
    requests_ += upcoming_.front().requests;
    tokens_ += upcoming_.front().tokens;
    upcoming_.pop_front();
  }
  QuotaAsk ask = Ask(now);
  ask.leaves = true;
  return ask;
}

}  // namespace reembed
