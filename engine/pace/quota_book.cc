// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/quota_book.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace reembed {
namespace {

constexpr double kMinute = 60e6;
constexpr double kWhole = 1e6;  // of the rate, in millionths

// 0 is no limit.
double Narrower(double a, double b) { return a <= 0 ? b : b <= 0 ? a : std::min(a, b); }

}  // namespace

double QuotaBook::Line::Rate() const { return Narrower(given, said); }

// The time that one takes, at that share of the rate; 0: there is no limit.
double QuotaBook::Line::Each(double share) const { return Rate() > 0 ? kMinute * kWhole / (Rate() * share) : 0; }

// Forgets what is too old, and holds back who comes first after a silence.
QuotaBook::Arrival QuotaBook::Arrive(const QuotaAsk& ask, int64_t clock) {
  const auto seen = static_cast<double>(seen_);
  Arrival arrival{.now = static_cast<double>(clock)};
  arrival.fresh = seen_ < 0 || arrival.now - seen >= kForget || seen - arrival.now > kSmallStep;
  const double silence = arrival.fresh ? kForget : arrival.now - seen;
  if (arrival.fresh) {
    epoch_ = static_cast<int64_t>(std::floor(arrival.now / 1000));
    requests_ = tokens_ = {.given_at = arrival.now, .next = arrival.now};
    paused_until_ = 0;
    lowered_to_ = kWhole;
    lowered_at_ = arrival.now - kBetweenLowerings;
    workers_.clear();
  } else {
    arrival.now = std::max(arrival.now, seen);
  }
  if (ask.returns && silence > kSilence) {
    requests_.next = std::max(requests_.next, arrival.now + kHold);
    tokens_.next = std::max(tokens_.next, arrival.now + kHold);
  }
  return arrival;
}

// True: a limit is narrower than before.
bool QuotaBook::TakeLimits(const QuotaAsk& ask, double now) {
  bool narrower = false;
  for (const auto& [line, given, said] :
       {std::tuple(&requests_, ask.given.requests_per_minute, ask.said.requests_per_minute),
        std::tuple(&tokens_, ask.given.tokens_per_minute, ask.said.tokens_per_minute)}) {
    const double before = line->Rate();
    if (now - line->given_at >= kForget) line->given = 0;
    line->given = Narrower(line->given, given);
    if (given > 0 && given <= line->given) line->given_at = now;
    line->said = Narrower(line->said, said);
    if (line->Rate() > 0 && (before <= 0 || line->Rate() < before)) narrower = true;
  }
  return narrower;
}

// The share of the rate that holds now, in millionths. `is_news`: it was refused what this epoch granted.
double QuotaBook::TakeRefusal(const QuotaAsk& ask, bool is_news, double now) {
  const double share = std::min(kWhole, lowered_to_ + std::floor((now - lowered_at_) / kRise));
  const auto refused = static_cast<double>(absl::ToInt64Microseconds(ask.refused));
  if (refused > 0) paused_until_ = std::max(paused_until_, now + refused);
  if (!is_news || now - lowered_at_ < kBetweenLowerings) return share;
  lowered_at_ = now;
  return lowered_to_ = std::max<double>(kLeastShare, std::floor(share * 9 / 10));
}

void QuotaBook::NoteWorker(const QuotaAsk& ask, double now) {
  seen_ = static_cast<int64_t>(now);
  workers_[ask.worker] = seen_;
  std::erase_if(workers_, [&](const auto& worker) { return worker.second <= seen_ - kForget; });
  if (ask.leaves) workers_.erase(ask.worker);
  if (ask.leaves && workers_.empty()) requests_.given_at = tokens_.given_at = now - kForget;
}

// Moments are doubles that hold whole microseconds, as the server's language has no others.
QuotaGrant QuotaBook::Ask(const QuotaAsk& ask, int64_t clock) {
  const auto [now, fresh] = Arrive(ask, clock);
  const bool knows_epoch = ask.epoch == epoch_;
  const bool narrower = TakeLimits(ask, now) && !fresh;
  const bool refusal = absl::ToInt64Microseconds(ask.refused) > 0 && knows_epoch;
  const double share = TakeRefusal(ask, refusal, now);
  if (narrower || refusal) {
    ++epoch_;
    requests_.next = tokens_.next = now;
  }

  const double a_request = requests_.Each(share), a_token = tokens_.Each(share);
  const bool counts = knows_epoch && !narrower && !refusal;
  if (counts) requests_.next -= std::floor(static_cast<double>(ask.requests_back) * a_request);
  if (counts || ask.tokens_back < 0) tokens_.next -= std::floor(static_cast<double>(ask.tokens_back) * a_token);
  for (Line* const line : {&requests_, &tokens_}) line->next = std::max({line->next, now - kBurst, paused_until_});

  QuotaGrant grant{.requests = ask.requests, .tokens = ask.tokens};
  const double begin = std::max({now, requests_.next, tokens_.next});
  if (begin - now > kAhead) {
    grant.requests = std::min<int64_t>(1, ask.requests);
    grant.tokens = ask.least_tokens;
  }
  requests_.next += std::ceil(static_cast<double>(grant.requests) * a_request);
  tokens_.next += std::ceil(static_cast<double>(grant.tokens) * a_token);

  NoteWorker(ask, now);
  grant.begin = absl::Microseconds(static_cast<int64_t>(begin - now));
  grant.epoch = epoch_;
  grant.pause = absl::Microseconds(static_cast<int64_t>(std::max(0.0, paused_until_ - now)));
  grant.workers = static_cast<int>(workers_.size());
  grant.limit.requests_per_minute = std::floor(requests_.Rate() * share / 1000) / 1000;
  grant.limit.tokens_per_minute = std::floor(tokens_.Rate() * share / 1000) / 1000;
  AskForMoney(ask, &grant);
  return grant;
}

void QuotaBook::AskForMoney(const QuotaAsk& ask, QuotaGrant* grant) {
  if (ask.account.empty()) return;
  int64_t others = -money_[ask.account];
  for (const auto& [account, money] : money_) others += money;
  // What is spent is spent, whatever the cap.
  grant->money = std::max(std::min(ask.money_wanted, ask.money_cap - others), ask.money_spent);
  money_[ask.account] = grant->money;
  grant->money_left = std::max<int64_t>(0, ask.money_cap - others - grant->money);
}

}  // namespace reembed
