// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/spend_cap.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/setting.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr char kPayload[] = "reembed/spend-cap";
constexpr double kWarnAt = 0.8;

// How far the notes run ahead of what leaves: a note is durable, so there are few. A kill costs the job that much of
// its cap at most: eight requests, or a thirty-second of what it has spent.
constexpr double kRequestsAhead = 8;
constexpr double kShareAhead = 1.0 / 32;

// The estimates of the last few requests are compared with what they were charged.
constexpr double kFading = 0.8;
constexpr double kEnoughTokens = 500;  // a few short texts tell nothing
constexpr double kLeastFactor = 0.25;
constexpr double kMostFactor = 8;

}  // namespace

SpendHold& SpendHold::operator=(SpendHold&& other) noexcept {
  if (this == &other) return *this;
  End();
  cap_ = std::exchange(other.cap_, nullptr);
  tokens_ = std::exchange(other.tokens_, 0);
  charge_ = std::exchange(other.charge_, 0);
  has_left_ = std::exchange(other.has_left_, false);
  in_air_ = std::exchange(other.in_air_, false);
  return *this;
}

SpendHold SpendHold::Split(int64_t tokens) {
  SpendHold part;
  if (cap_ == nullptr || tokens_ <= 0) return part;
  const double share = std::min(1.0, static_cast<double>(tokens) / static_cast<double>(tokens_));
  part.cap_ = cap_;
  part.tokens_ = std::min(tokens, tokens_);
  part.charge_ = charge_ * share;
  tokens_ -= part.tokens_;
  charge_ -= part.charge_;
  return part;
}

void SpendHold::Add(SpendHold other) {
  if (other.cap_ == nullptr) return;
  cap_ = std::exchange(other.cap_, nullptr);
  tokens_ += other.tokens_;
  charge_ += other.charge_;
}

void SpendHold::Leave() {
  if (cap_ == nullptr) return;
  const MutexLock lock(&cap_->mutex_);
  ++cap_->in_air_;
  has_left_ = in_air_ = true;
}

void SpendHold::Return() {
  if (cap_ == nullptr) return;
  const MutexLock lock(&cap_->mutex_);
  --cap_->in_air_;
  has_left_ = in_air_ = false;
}

void SpendHold::End() {
  if (cap_ == nullptr) return;
  SpendCap* const cap = std::exchange(cap_, nullptr);
  const MutexLock lock(&cap->mutex_);
  cap->Settle(*this, has_left_ ? charge_ : 0);
}

void SpendCap::AwaitCharge(const void* batch, int first_text, SpendHold hold) {
  if (hold.cap_ == nullptr) return;
  SpendHold unread;  // that of an earlier reply: ends when the lock is gone
  const MutexLock lock(&mutex_);
  if (hold.in_air_) --in_air_;
  hold.in_air_ = false;
  unread = std::exchange(unread_[{batch, first_text}], std::move(hold));
}

void SpendCap::Charge(const void* batch, int first_text, int64_t tokens) {
  SpendHold hold;
  const MutexLock lock(&mutex_);
  const auto found = unread_.find({batch, first_text});
  if (found == unread_.end()) return;
  hold = std::move(found->second);
  unread_.erase(found);
  Settle(hold, static_cast<double>(tokens));
  hold.cap_ = nullptr;
  charged_ = kFading * charged_ + static_cast<double>(tokens);
  estimated_ = kFading * estimated_ + static_cast<double>(hold.tokens_);
  if (estimated_ >= kEnoughTokens) factor_ = std::clamp(charged_ / estimated_, kLeastFactor, kMostFactor);
}

SpendCap::Answer SpendCap::Take(int64_t tokens, SpendHold* hold) {
  SpendHold taken;
  {
    const MutexLock lock(&mutex_);
    const Answer answer = TakeFitting(tokens, &taken);
    if (answer == Answer::kNever && reached_.ok()) CloseFor(ChargeOf(tokens));
    if (answer != Answer::kTaken) return answer;
  }
  *hold = std::move(taken);
  return Answer::kTaken;
}

SpendCap::Answer SpendCap::Offer(int64_t tokens, SpendHold* hold) {
  SpendHold taken;
  {
    const MutexLock lock(&mutex_);
    if (const Answer answer = TakeFitting(tokens, &taken); answer != Answer::kTaken) return answer;
  }
  *hold = std::move(taken);
  return Answer::kTaken;
}

// *hold is an empty one.
SpendCap::Answer SpendCap::TakeFitting(int64_t tokens, SpendHold* hold) {
  if (!reached_.ok()) return Answer::kNever;
  const double charge = ChargeOf(tokens);
  waits_for_ = 0;
  if (!FitsAllowed(charge) && may_allow_more_ && FitsMoney(charge) && FitsTokens(charge)) {
    waits_for_ = Usd(charge);
    return Answer::kAskLater;
  }
  if (!FitsAllowed(charge) || !FitsMoney(charge) || !FitsTokens(charge)) {
    return in_air_ > 0 ? Answer::kAskLater : !unread_.empty() ? Answer::kAskSoon : Answer::kNever;
  }
  if (reached_ = NoteAhead(Usd(charge)); !reached_.ok()) return Answer::kNever;
  held_ += charge;
  WarnOnce();
  hold->cap_ = this;
  hold->tokens_ = tokens;
  hold->charge_ = charge;
  return Answer::kTaken;
}

void SpendCap::Allow(double usd, bool more) {
  const MutexLock lock(&mutex_);
  allowed_ = usd;
  may_allow_more_ = more;
}

double SpendCap::wanted_usd() const {
  const MutexLock lock(&mutex_);
  return SpentUsd() + waits_for_;
}

void SpendCap::Close(int64_t tokens) {
  const MutexLock lock(&mutex_);
  if (reached_.ok()) CloseFor(ChargeOf(tokens));
}

void SpendCap::CloseFor(double charge) {
  const bool is_money = FitsTokens(charge);
  reached_ = absl::CancelledError(
      is_money ? absl::StrCat(
                     "the cap of ", DollarsText(options_.cap_usd), " is reached: ",
                     allowed_ < options_.cap_usd ? absl::StrCat("others who share it have left ", DollarsText(allowed_),
                                                                " of it to this job, whose runs ")
                                                 : "all runs of the job ",
                     "together have spent ", DollarsText(SpentUsd()), ", and the next request would cost about ",
                     DollarsText(Usd(charge)), "; the same command with a higher cap resumes from here")
               : absl::StrFormat(
                     "the cap of %.0f tokens is reached: this run has used %.0f tokens, and the next request would "
                     "use about %.0f; the same command resumes from here with the same limit",
                     options_.cap_tokens, used_ + held_, charge));
  reached_.SetPayload(kPayload, absl::Cord(""));
  reached_ = WithSetting(std::move(reached_), is_money ? Setting::kMaxSpend : Setting::kMaxTokens);
}

absl::Status SpendCap::Reached() const {
  const MutexLock lock(&mutex_);
  return reached_;
}

void SpendCap::ChargeTo(SpendAccount* account) {
  const MutexLock lock(&mutex_);
  account_ = account;
}

double SpendCap::used_tokens() const {
  const MutexLock lock(&mutex_);
  return used_ + held_;
}

double SpendCap::spent_usd() const {
  const MutexLock lock(&mutex_);
  return SpentUsd();
}

double SpendCap::spent_usd(const SpendAccount& account) const {
  const MutexLock lock(&mutex_);
  return account.used_usd + (&account == account_ ? Usd(held_) : 0);
}

// What is about to leave is in a note before it does.
absl::Status SpendCap::NoteAhead(double usd) {
  if (account_ == nullptr || !account_->note) return absl::OkStatus();
  const double needed = account_->used_usd + Usd(held_) + usd;
  if (needed <= account_->noted_usd) return absl::OkStatus();
  const double ahead = std::max(std::min(needed - usd, kRequestsAhead * usd), needed * kShareAhead);
  const double left = options_.cap_usd - SpentUsd() - usd;
  const double noted = needed + std::clamp(ahead, 0.0, std::max(0.0, left));
  ABSL_RETURN_IF_ERROR(account_->note(noted));
  account_->noted_usd = noted;
  return absl::OkStatus();
}

void SpendCap::WarnOnce() {
  if (warned_ || !options_.warn || SpentUsd() < kWarnAt * options_.cap_usd) return;
  warned_ = true;
  options_.warn(SpentUsd(), options_.cap_usd);
}

void SpendCap::Settle(const SpendHold& hold, double charge) {
  if (hold.in_air_) --in_air_;
  held_ -= hold.charge_;
  // What is left of sums of many small numbers is none.
  if (std::abs(held_) < 1e-6) held_ = 0;
  used_ += charge;
  if (account_ != nullptr) account_->used_usd += Usd(charge);
  WarnOnce();
}

bool IsSpendCapReached(const absl::Status& status) { return status.GetPayload(kPayload).has_value(); }

std::string DollarsText(double usd) {
  if (usd >= 1) return absl::StrFormat("$%.2f", usd);
  if (usd >= 0.001 || usd <= 0) return absl::StrFormat("$%.4f", usd);
  // Two digits that say something.
  const int decimals = std::min(12, 1 - static_cast<int>(std::floor(std::log10(usd))));
  return absl::StrFormat("$%.*f", decimals, usd);
}

}  // namespace reembed
