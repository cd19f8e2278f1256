// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/mutex.h"
#include "engine/pace/request_packer.h"
#include "engine/pace/wait_hints.h"
#include "io/embed/own_trouble.h"
#include "io/embed/request_flow.h"
#include "io/embed/request_part.h"

// What becomes of the answers to requests.

namespace reembed {
namespace {

// A 503 and the like: it loads its model, or has too much to do.
bool IsBusy(const RequestVerdict& verdict) {
  return verdict.reply_class == ReplyClass::kRetryWait && verdict.outcome == SendOutcome::kFailed;
}

bool IsAskedAgain(const RequestVerdict& verdict) {
  return verdict.reply_class == ReplyClass::kRetry || verdict.reply_class == ReplyClass::kRetryWait;
}

}  // namespace

std::string RequestFlow::NoteOn(const RequestVerdict& verdict) {
  if (options_.note == nullptr) return "";
  const absl::Duration named = verdict.named_wait.value_or(absl::ZeroDuration());
  if (named > options_.retry.max_wait && !std::exchange(noted_long_wait_, true)) {
    return absl::StrCat(verdict.status.message(), "; it asks for a wait of ",
                        absl::FormatDuration(absl::Ceil(named, absl::Seconds(1))), ", at most ",
                        absl::FormatDuration(options_.retry.max_wait), " are granted");
  }
  if (!IsBusy(verdict) || pacer_.ever_well() || std::exchange(noted_loading_, true)) return "";
  return absl::StrCat(verdict.status.message(), "; waiting for it, at most ",
                      absl::FormatDuration(options_.retry.outage_limit()));
}

// Nothing leaves for a while, or less at a time.
void RequestFlow::HoldBack(const Part& part, const RequestVerdict& verdict, const Departure& departure, Moment now) {
  const bool named = verdict.named_wait.has_value();
  if (verdict.outcome != SendOutcome::kRefused && !named) return;
  const absl::Duration wait =
      named ? std::min(*verdict.named_wait, options_.retry.max_wait) : Backoff(options_.retry, part.attempts, &random_);
  if (verdict.outcome == SendOutcome::kRefused) {
    pacer_.Refused(departure, wait, named, now);
  } else {
    pacer_.Pause(wait, now);
  }
}

RequestFlow::Aftermath RequestFlow::Learn(const PartPtr& part, const HttpReply& reply, Moment now, Leaving* left,
                                          RequestVerdict* verdict) {
  const Departure& departure = left->departure;
  const bool again = IsAskedAgain(*verdict);
  Aftermath after{.is_lost = again && verdict->may_cost && !part->is_control};
  if (reply.status != 0) pacer_.Learn(QuotaOf(reply.headers), departure, now);
  if (reply.status == 429) ++http_429_;
  after.note = NoteOn(*verdict);
  if (again) HoldBack(*part, *verdict, departure, now);
  if (options_.hedge && verdict->outcome == SendOutcome::kOk) latencies_.Add(now - departure.at);
  const Pacer::Change change = pacer_.Ended(departure, verdict->outcome, now);
  if (change.outage_ended) ReleaseRetries(change.outage_began, now);
  TestAlibi(part, departure, verdict, now);
  if (verdict->reply_class == ReplyClass::kStop) {
    // What is true of this request is true of all.
    if (stopped_.ok()) stopped_ = verdict->status;
    after.hopeless = TakeAllWaiting();
  }
  after.twin_decides = again && part->in_air > 0;
  if (after.twin_decides) part->answered = false;
  if (!after.twin_decides && part->in_air > 0) after.twins = part->tickets;
  if (after.is_lost) texts_unanswered_ += part->count;
  if (!verdict->may_cost) {
    left->money.Return();
    part->call->money.Add(std::move(left->money));
  }
  return after;
}

void RequestFlow::Settle(PartPtr part, Leaving left, RequestVerdict verdict, HttpReply reply) {
  const Moment now = MonotonicNow();
  Aftermath after;
  {
    const MutexLock lock(&mutex_);
    after = Learn(part, reply, now, &left, &verdict);
  }
  if (verdict.reply_class != ReplyClass::kOk) left.money = SpendHold();
  if (!after.note.empty()) options_.note(after.note);
  for (const HttpLoop::Ticket twin : after.twins) http_->Abandon(twin);
  SendControl();
  if (after.twin_decides && after.is_lost && options_.lost) options_.lost(part->count, Done());
  Dispatch();  // first of all, the next request leaves
  if (after.twin_decides) return;
  switch (verdict.reply_class) {
    case ReplyClass::kOk:
      return TakeReply(std::move(part), std::move(reply), std::move(left.money));
    case ReplyClass::kSplit:
      return Split(std::move(part), verdict.excess);
    case ReplyClass::kRejectText:
      return verdict.unknown && part->trial.proofs == 0 ? Suspect(std::move(part))
                                                        : Reject(std::move(part), std::move(verdict));
    case ReplyClass::kStop:
      EndAll(std::move(after.hopeless), verdict.status);
      return End(std::move(part), std::move(verdict.status));
    case ReplyClass::kRetry:
    case ReplyClass::kRetryWait:
      return after.is_lost && options_.lost ? RetryWhenNoted(std::move(part), std::move(verdict), now)
                                            : Retry(std::move(part), verdict, now);
  }
}

void RequestFlow::RetryWhenNoted(PartPtr part, RequestVerdict verdict, Moment now) {
  {
    const MutexLock lock(&noting_mutex_);
    ++noting_;
  }
  const int texts = part->count;
  options_.lost(texts,
                Done([this, part = std::move(part), verdict = std::move(verdict), now](absl::Status status) mutable {
                  const MutexLock lock(&noting_mutex_);
                  noted_.push_back({std::move(part), std::move(verdict), now, std::move(status)});
                  http_->SetTimer(MonotonicNow());  // not here: money is asked for where this is noted
                }));
}

// On a loop thread.
void RequestFlow::RetryNoted() {
  std::vector<Noted> noted;
  {
    const MutexLock lock(&noting_mutex_);
    noted.swap(noted_);
  }
  for (Noted& loss : noted) {
    if (loss.status.ok()) {
      Retry(std::move(loss.part), loss.verdict, loss.at);
    } else {
      End(std::move(loss.part), OwnTrouble(std::move(loss.status)));
    }
  }
  const MutexLock lock(&noting_mutex_);
  noting_ -= static_cast<int>(noted.size());
  if (noting_ == 0) all_noted_.notify_all();
}

// The server is well again: nobody sleeps on, and what failed for the outage is owed nothing.
void RequestFlow::ReleaseRetries(Moment outage_began, Moment now) {
  std::multimap<Moment, PartPtr> others;
  std::vector<PartPtr> released;
  for (auto& [ready, waiting] : retries_) {
    waiting->failing_since = absl::InfiniteDuration();
    if (waiting->failed_at >= outage_began) {
      waiting->reason = SendReason::kRefused;
      released.push_back(std::move(waiting));
    } else {
      others.emplace_hint(others.end(), std::min(ready, now), std::move(waiting));
    }
  }
  retries_ = std::move(others);
  queue_.insert(queue_.begin(), std::make_move_iterator(released.begin()), std::make_move_iterator(released.end()));
}

void RequestFlow::TakeReply(PartPtr part, HttpReply reply, SpendHold money) {
  {
    const MutexLock lock(&mutex_);
    caps_->Taken(part->call->batch->texts().subspan(part->first, part->count),
                 absl::FDivDuration(MonotonicNow() - part->left_at, options_.timeout));
    part->call->batch->replies().push_back({.first_text = part->first,
                                            .texts = part->count,
                                            .order = std::move(part->order),
                                            .body = std::move(reply.body),
                                            .decoded = std::move(part->decoded)});
    if (options_.spend != nullptr && !part->is_control)
      options_.spend->AwaitCharge(part->call->batch, part->first, std::move(money));
  }
  End(std::move(part), absl::OkStatus());
}

void RequestFlow::Reject(PartPtr part, RequestVerdict verdict) {
  {
    const MutexLock lock(&mutex_);
    BatchText& text = part->call->batch->texts()[part->first];
    text.reject = std::move(verdict.status);
    const Excess& excess = verdict.excess;
    const bool for_length = excess.measure != Measure::kNone && excess.measure != Measure::kTexts;
    text.too_long = {.refused = for_length, .limit = excess.limit, .tokens = excess.requested};
  }
  caps_->Refused(part->call->batch->texts().subspan(part->first, 1), verdict.excess);
  End(std::move(part), absl::OkStatus());
}

void RequestFlow::Split(PartPtr part, const Excess& excess) {
  const absl::Span<const BatchText> texts = part->call->batch->texts().subspan(part->first, part->count);
  const std::vector<int> counts = CutRefused(texts, excess, caps_.get());
  SplitInto(std::move(part), counts);
}

void RequestFlow::SplitInto(PartPtr part, const std::vector<int>& counts) {
  std::vector<PartPtr> parts;
  int first = part->first;
  for (const int count : counts) {
    parts.push_back(MakePart(part->call, first, count));
    parts.back()->is_again = true;
    parts.back()->trial = part->trial;
    first += count;
  }
  absl::Status refused;
  {
    const MutexLock lock(&mutex_);
    refused = stopped_;
    if (refused.ok()) {
      part->call->open_parts += static_cast<int>(parts.size()) - 1;
      queue_.insert(queue_.begin(), std::make_move_iterator(parts.begin()), std::make_move_iterator(parts.end()));
    }
  }
  if (!refused.ok()) return End(std::move(part), std::move(refused));
  Dispatch();
}

void RequestFlow::Retry(PartPtr part, const RequestVerdict& verdict, Moment now) {
  if (!verdict.give_up && SettleBroken(&part, verdict)) return;
  enum class Next { kAgain, kGiveUp, kEnd } next = Next::kAgain;
  absl::Status end;
  {
    const MutexLock lock(&mutex_);
    part->failing_since = std::min(part->failing_since, now);
    part->failed_at = now;
    // A server that says it is not ready yet is there, and gets as long before its first answer as after it.
    const bool patient = pacer_.ever_well() || IsBusy(verdict);
    const bool exhausted = part->attempts >= options_.retry.max_attempts &&
                           (!patient || now - part->failing_since >= options_.retry.outage_limit());
    if (end = stopped_; !end.ok()) {
      next = Next::kEnd;
    } else if (verdict.give_up || exhausted || pacer_.GivenUp(now)) {
      next = Next::kGiveUp;
    } else {
      // A refusal holds everybody back, not this one alone.
      const bool refused = verdict.outcome == SendOutcome::kRefused;
      part->reason = refused ? SendReason::kRefused : SendReason::kFailed;
      if (refused) {
        queue_.push_front(std::move(part));
      } else {
        retries_.emplace(now + Backoff(options_.retry, part->attempts, &random_), std::move(part));
      }
    }
  }
  if (next == Next::kAgain) {
    SendControl();
    return Dispatch();
  }
  if (next == Next::kEnd) return End(std::move(part), std::move(end));
  GiveUp(std::move(part), verdict, now);
}

void RequestFlow::GiveUp(PartPtr part, const RequestVerdict& verdict, Moment now) {
  std::string message =
      absl::StrCat(verdict.status.message(), "; gave up after ", Counted(part->attempts, "attempt", "attempts"));
  std::vector<PartPtr> others;  // an outage without an end is that of all
  {
    const MutexLock lock(&mutex_);
    if (pacer_.GivenUp(now)) {
      others = TakeAllWaiting();
      const absl::Duration failing = absl::Trunc(pacer_.FailingFor(now), absl::Seconds(1));
      absl::StrAppend(&message, ", no answer to any request for ",
                      failing < absl::Seconds(1) ? "less than a second" : absl::FormatDuration(failing));
    }
  }
  if (verdict.give_up) absl::StrAppend(&message, ", as the server says that trying again will not help");
  if (verdict.named_wait.value_or(absl::ZeroDuration()) > options_.retry.max_wait) {
    absl::StrAppend(&message, ", of the wait of ", absl::FormatDuration(*verdict.named_wait),
                    " that it asked for only ", absl::FormatDuration(options_.retry.max_wait), " is granted");
  }
  const absl::Status status(verdict.status.code(), absl::StrCat(message, "; run the same command again later"));
  End(std::move(part), status);
  EndAll(std::move(others), status);
}

// Answers the call when this was its last part. A call that fails needs its other parts no more.
// NOLINTNEXTLINE(performance-unnecessary-value-param): who calls gives its part away; how many hold it is asked below.
void RequestFlow::End(PartPtr part, absl::Status status) {
  std::unique_ptr<Call> ended;
  std::vector<PartPtr> needless;
  {
    const MutexLock lock(&mutex_);
    Call* const call = part->call;
    if (!status.ok() && call->failure.ok()) {
      call->failure = std::move(status);
      const auto take = [&](const PartPtr& waiting) {
        if (waiting->call != call) return false;
        needless.push_back(waiting);
        return true;
      };
      std::erase_if(queue_, take);
      std::erase_if(suspects_, take);
      std::erase_if(retries_, [&](const auto& entry) { return take(entry.second); });
      call->open_parts -= static_cast<int>(needless.size());
    }
    if (--call->open_parts == 0) ended.reset(call);
    // A twin that is still under way sends from this body.
    if (part.use_count() == 1 && static_cast<int>(spare_bodies_.size()) < options_.concurrency) {
      spare_bodies_.push_back(std::move(part->body));
    }
  }
  if (ended == nullptr) return;
  ended->money = SpendHold();  // whoever is told next may ask what is spent
  std::move(ended->done)(std::move(ended->failure));
}

void RequestFlow::EndAll(std::vector<PartPtr> parts, const absl::Status& status) {
  for (PartPtr& part : parts) End(std::move(part), status);
}

std::vector<RequestFlow::PartPtr> RequestFlow::TakeAllWaiting() {
  std::vector<PartPtr> waiting(queue_.begin(), queue_.end());
  queue_.clear();
  for (PartPtr& suspect : std::exchange(suspects_, {})) waiting.push_back(std::move(suspect));
  if (control_ != nullptr) waiting.push_back(std::exchange(control_, nullptr));
  for (auto& [ready, part] : retries_) waiting.push_back(std::move(part));
  retries_.clear();
  return waiting;
}

}  // namespace reembed
