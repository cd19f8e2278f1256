// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/mutex.h"
#include "io/embed/request_flow.h"
#include "io/embed/request_part.h"

// Whether it is the text or the service: what becomes of requests that are refused in words nobody knows, that break
// again and again, or that take too long.

namespace reembed {
namespace {

constexpr size_t kManySuspects = 3;
constexpr int64_t kControlTokens = 8;

}  // namespace

// Remembers what the answer says about this request and about the others. A text of our own that is
// refused turns into the end of the run.
void RequestFlow::TestAlibi(const PartPtr& part, const Departure& departure, RequestVerdict* verdict, Moment now) {
  if (part->is_control) control_out_ = false;
  switch (verdict->reply_class) {
    case ReplyClass::kOk:
      alibi_.Taken(departure.at);
      if (part->is_control) tokens_ += part->tokens;
      ReleaseSuspects();
      break;
    case ReplyClass::kSplit:
    case ReplyClass::kRejectText:
      if (part->is_control && suspects_.empty()) {
        verdict->unknown = false;  // it tells nothing about what breaks
      } else if (part->is_control) {
        verdict->reply_class = ReplyClass::kStop;
        verdict->status = absl::FailedPreconditionError(
            absl::StrCat(verdict->status.message(),
                         "; a control text is refused, too, so the texts are not the cause; check the model's "
                         "name, its dimensions, the address of the API, the headers that were added, and the account"));
      } else if (verdict->unknown) {
        alibi_.Refused(&part->trial, now);
      }
      break;
    case ReplyClass::kRetry:
      alibi_.Broke(&part->trial, verdict->status.message(), now);
      break;
    case ReplyClass::kRetryWait:
    case ReplyClass::kStop:
      break;
  }
}

// A text was refused alone, and nothing shows that it is to blame: it waits for others to be taken.
void RequestFlow::Suspect(PartPtr part) {
  absl::Status refused;
  {
    const MutexLock lock(&mutex_);
    refused = stopped_;
    if (refused.ok()) {
      part->reason = SendReason::kFirst;
      part->is_again = true;
      suspects_.push_back(std::move(part));
      ReleaseSuspects();
    }
  }
  if (!refused.ok()) return End(std::move(part), std::move(refused));
  SendControl();
  Dispatch();
}

// Those that others were taken since are asked for again, once.
void RequestFlow::ReleaseSuspects() {
  const auto waits = [this](const PartPtr& part)
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !alibi_.TakenSince(part->trial.first_at); };
  const auto released = std::partition(suspects_.begin(), suspects_.end(), waits);
  queue_.insert(queue_.begin(), std::make_move_iterator(released), std::make_move_iterator(suspects_.end()));
  suspects_.erase(released, suspects_.end());
}

// The service answers nobody any more: that is another trouble, with other waits.
void RequestFlow::SuspectsRest(Moment now, std::vector<PartPtr>* given_up) {
  for (PartPtr& part : std::exchange(suspects_, {})) {
    if (part->attempts >= options_.retry.max_attempts) {
      given_up->push_back(std::move(part));
      continue;
    }
    part->reason = SendReason::kFailed;
    const Moment ready = now + Backoff(options_.retry, part->attempts, &random_);
    retries_.emplace(ready, std::move(part));
  }
}

// Whether a text of our own should find out how the service is: where there are many suspects, and
// where nothing else is on its way that would tell.
bool RequestFlow::WantsControl() const {
  if (control_out_ || !stopped_.ok()) return false;
  const bool quiet = queue_.empty();
  if (!suspects_.empty()) return suspects_.size() >= kManySuspects || (quiet && pacer_.in_air() == 0);
  // An outage has its own probes, and nothing to compare with.
  if (!quiet || pacer_.probing() || !pacer_.ever_well()) return false;
  return std::any_of(retries_.begin(), retries_.end(), [this](const auto& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Trial& trial = entry.second->trial;
    return trial.failures >= 2 && !alibi_.TakenSince(trial.failed_at);
  });
}

// A short text which nothing is wrong with. Each is another one: a gateway must not answer from its memory. Nobody
// reads the reply, so its cost stays the estimate. Somebody has to call Dispatch() afterwards.
void RequestFlow::SendControl() {
  int number = 0;
  {
    const MutexLock lock(&mutex_);
    if (!WantsControl()) return;
    control_out_ = true;
    number = ++controls_;
  }
  auto batch = std::make_unique<Batch>(BatchLimits{.max_texts = 1, .max_rows = 1, .max_text_bytes = 64},
                                       std::max(1, options_.base64_dim));
  const std::string text = absl::StrCat("Are you well? (", number, ")");
  batch->AddRowWithText(0, KeyView(int64_t{0}), 0, text, kControlTokens);
  auto call = std::make_unique<Call>();
  call->batch = batch.get();
  call->done = Done([batch = std::move(batch)](const absl::Status&) {});
  call->open_parts = 1;
  call->tokens = kControlTokens;
  PartPtr part = MakePart(call.get(), 0, 1);
  (void)call.release();  // End() takes it back
  part->is_control = true;
  absl::Status refused;
  {
    const MutexLock lock(&mutex_);
    refused = stopped_;
    if (refused.ok()) control_ = std::move(part);
  }
  if (!refused.ok()) End(std::move(part), std::move(refused));
}

// A request broke. True: something is done about it, other than sending it again as it is.
bool RequestFlow::SettleBroken(PartPtr* part, const RequestVerdict& verdict) {
  if ((*part)->is_control) {
    std::vector<PartPtr> given_up;
    {
      const MutexLock lock(&mutex_);
      SuspectsRest(MonotonicNow(), &given_up);
    }
    const absl::Status status(verdict.status.code(),
                              absl::StrCat(verdict.status.message(), "; run the same command again later"));
    End(std::move(*part), status);
    EndAll(std::move(given_up), status);
    Dispatch();
    return true;
  }
  if (verdict.reply_class != ReplyClass::kRetry) return false;
  if (verdict.timed_out && !(*part)->is_probe && SplitSlow(*part)) return true;
  const Trial& trial = (*part)->trial;
  const int count = (*part)->count;
  // Those that a split has made are split at once, as they are known to hold what breaks.
  if (count > 1 && trial.proofs >= Alibi::kProofsToSplit) {
    SplitInto(std::move(*part), {count / 2, count - count / 2});
    return true;
  }
  if (count > 1 || trial.proofs < Alibi::kProofsToReject) return false;
  RequestVerdict rejected = verdict;
  rejected.status = absl::UnavailableError(absl::StrCat(verdict.status.message(), "; asked for alone ",
                                                        (*part)->attempts, " times, while other texts were embedded"));
  Reject(std::move(*part), std::move(rejected));
  return true;
}

// Halves what was not answered in time, unless as much was before.
bool RequestFlow::SplitSlow(const PartPtr& part) {
  if (part->count < 2) return false;
  const absl::Span<const BatchText> texts = part->call->batch->texts().subspan(part->first, part->count);
  const int64_t most = caps_->TimedOut(texts, part->trial.failures > 1);
  if (most == 0) return false;
  if (options_.note) {
    options_.note(
        absl::StrCat(where(), ": no answer to a request of ", Counted(part->count, "text", "texts"), " within ",
                     absl::FormatDuration(options_.timeout), "; at most ", most,
                     " at a time from now on (a longer time-out gives it more time, a smaller batch less to do)"));
  }
  std::vector<int> counts;
  for (int left = part->count; left > 0; left -= counts.back()) {
    counts.push_back(std::min(left, static_cast<int>(most)));
  }
  // The smaller ones are another matter.
  part->trial = {};
  SplitInto(part, counts);
  return true;
}

}  // namespace reembed
