// SPDX-License-Identifier: Apache-2.0
#include "io/embed/request_flow.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "engine/pace/request_packer.h"
#include "engine/status_macros.h"
#include "io/embed/request_part.h"
#include "io/embed/text_order.h"
#include "io/net/proxy.h"
#include "io/net/unsent.h"

// How requests come and leave; what becomes of their answers is in request_settling.cc.

namespace reembed {
namespace {

// During an outage a request finds out soon whether the server is back.
constexpr absl::Duration kShortestProbe = absl::Seconds(5);
constexpr int kProbeLatencies = 4;

// Another endpoint, or a thread that reads a reply, may set money free; nobody tells us.
constexpr absl::Duration kAskForMoneyAgain = absl::Milliseconds(20);
constexpr absl::Duration kReadingTakesAtMost = absl::Seconds(2);

// The mark of UTF-8 that some servers send before JSON, which no parser takes. Its place stays.
void BlankOutMark(std::string* body) {
  constexpr absl::string_view kMark = "\xEF\xBB\xBF";
  if (absl::StartsWith(*body, kMark)) body->replace(0, kMark.size(), kMark.size(), ' ');
}

}  // namespace

absl::StatusOr<std::unique_ptr<RequestFlow>> RequestFlow::Make(FlowOptions options, BodyWriter write_body) {
  const HttpLoopOptions loop_options{.threads = options.loop_threads,
                                     .ca_file = options.ca_file,
                                     .proxy = options.proxy,
                                     .accept_gzip = options.accept_gzip};
  std::unique_ptr<RequestFlow> flow(new RequestFlow(std::move(options), std::move(write_body)));
  ABSL_ASSIGN_OR_RETURN(flow->loop_, HttpLoop::Make(loop_options, [flow = flow.get()] {
                          flow->RetryNoted();
                          flow->Dispatch();
                        }));
  flow->http_ = flow->loop_.get();
  if (flow->options_.control != nullptr) {
    flow->following_ = flow->options_.control->Follow([flow = flow.get()](const PaceWish& wish) { flow->Obey(wish); });
  }
  return flow;
}

RequestFlow::RequestFlow(FlowOptions options, BodyWriter write_body)
    : options_(std::move(options)),
      write_body_(std::move(write_body)),
      judge_(options_.url, ProxyForMessages(ProxyFor(options_.url, options_.proxy)), options_.secrets, options_.errors,
             options_.hints),
      caps_(options_.caps != nullptr ? options_.caps : std::make_shared<LearnedCaps>()),
      pacer_({.limit = options_.limit,
              .concurrency = options_.concurrency,
              .fixed_concurrency = options_.fixed_concurrency,
              .retry = options_.retry,
              .shared_quota = options_.shared_quota,
              .counts_as = options_.counts_as}),
      random_(options_.seed) {}

RequestFlow::~RequestFlow() {
  following_.reset();
  Stop(InTheAir::kDrop, absl::CancelledError("cancelled"));
  MutexLock lock(&noting_mutex_);
  all_noted_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(noting_mutex_) { return noting_ == 0; });
}

void RequestFlow::Send(Batch* batch, Done done) {
  auto call = std::make_unique<Call>();
  call->batch = batch;
  std::vector<PartPtr> parts;
  for (const RequestSpan& request : CutIntoRequests(*batch, options_.max_texts, options_.limit, *caps_)) {
    parts.push_back(MakePart(call.get(), request.first, request.count));
    parts.back()->is_again = batch->attempts() > 0;
  }
  if (parts.empty()) return std::move(done)(absl::OkStatus());
  call->done = std::move(done);
  call->open_parts = static_cast<int>(parts.size());
  for (const PartPtr& part : parts) call->tokens += part->tokens;
  (void)call.release();  // End() of its last part takes it back
  for (PartPtr& part : parts) Submit(std::move(part));
  Dispatch();
}

void RequestFlow::Obey(const PaceWish& wish) {
  {
    const MutexLock lock(&mutex_);
    pacer_.Obey(wish, MonotonicNow());
  }
  // On a loop thread, as whoever wishes something holds a lock.
  http_->SetTimer(MonotonicNow());
}

void RequestFlow::Stop(InTheAir in_the_air, const absl::Status& why) {
  std::vector<PartPtr> waiting;
  absl::Status first;
  {
    const MutexLock lock(&mutex_);
    told_to_stop_ = true;
    if (stopped_.ok()) stopped_ = why;
    first = stopped_;
    waiting = TakeAllWaiting();
  }
  if (in_the_air == InTheAir::kDrop && http_ != nullptr) http_->Cancel();
  EndAll(std::move(waiting), first);
}

ClientStats RequestFlow::stats() const {
  const MutexLock lock(&mutex_);
  const Part* const next = !retries_.empty() ? retries_.begin()->second.get()
                           : !queue_.empty() ? queue_.front().get()
                                             : nullptr;
  return {.requests = requests_,
          .requests_retried = retried_,
          .http_429 = http_429_,
          .requests_hedged = hedged_,
          .concurrency = pacer_.concurrency(),
          .in_the_air = pacer_.in_air(),
          .texts_dropped = texts_dropped_,
          .texts_unanswered = texts_unanswered_,
          .tokens = tokens_,
          .latency = pacer_.latency(),
          .quota_wait = next == nullptr ? absl::ZeroDuration() : pacer_.QuotaWait(next->tokens, MonotonicNow()),
          .requests_per_minute = pacer_.limiter().requests_per_minute(),
          .tokens_per_minute = pacer_.limiter().tokens_per_minute()};
}

void RequestFlow::CountTokens(int64_t tokens, int64_t estimated) {
  CountTokens(tokens);
  const MutexLock lock(&mutex_);
  pacer_.Correct(estimated, tokens);
}

void RequestFlow::Recycle(std::vector<Reply>* replies) {
  {
    const MutexLock lock(&mutex_);
    for (Reply& reply : *replies) {
      if (static_cast<int>(spare_replies_.size()) < options_.concurrency) {
        spare_replies_.push_back(std::move(reply.body));
      }
    }
  }
  replies->clear();
}

RequestFlow::PartPtr RequestFlow::MakePart(Call* call, int first, int count) {
  auto part = std::make_shared<Part>();
  {
    const MutexLock lock(&mutex_);
    if (!spare_bodies_.empty()) {
      part->body = std::move(spare_bodies_.back());
      spare_bodies_.pop_back();
    }
  }
  part->call = call;
  part->first_row = call->batch->range().begin;
  part->first = first;
  part->count = count;
  part->max_reply_bytes = call->batch->limits().max_reply_bytes;
  const absl::Span<const BatchText> texts = call->batch->texts().subspan(first, count);
  if (options_.longest_first) part->order = LongestFirst(texts);
  std::vector<const BatchText*> leaving;
  for (int k = 0; k < count; ++k) leaving.push_back(&texts[part->order.empty() ? k : part->order[k]]);
  for (const BatchText& text : texts) part->tokens += text.tokens;
  write_body_(leaving, &part->body);
  return part;
}

// The first rows go first, in whatever order they come here: targets that are written in order hold
// all other batches until the first has its vectors.
void RequestFlow::Queue(PartPtr part) {
  auto place = queue_.end();
  while (place != queue_.begin() && (*std::prev(place))->first_row > part->first_row) --place;
  queue_.insert(place, std::move(part));
}

// Somebody has to call Dispatch() afterwards.
void RequestFlow::Submit(PartPtr part) {
  absl::Status refused;
  {
    const MutexLock lock(&mutex_);
    refused = stopped_;
    if (refused.ok()) return Queue(std::move(part));
  }
  End(std::move(part), std::move(refused));
}

// Sends what may leave now, and has itself called again when more may. Whoever changes what it depends on calls it.
void RequestFlow::Dispatch() {
  for (;;) {
    Leaving leaving;
    Moment ask_again = absl::InfiniteDuration();
    PartPtr part;
    {
      const MutexLock lock(&mutex_);
      if (!stopped_.ok()) return;
      const Moment now = MonotonicNow();
      part = TakeNext(now, &leaving, &ask_again);
      if (part == nullptr && options_.hedge) part = TakeStraggler(now, &leaving, &ask_again);
    }
    if (part == nullptr) {
      if (options_.spend != nullptr && !options_.spend->Reached().ok()) return EndForMoney();
      if (ask_again < absl::InfiniteDuration()) http_->SetTimer(ask_again);
      return;
    }
    Launch(std::move(part), std::move(leaving));
  }
}

// Those that failed before go first, as their batches have waited longest.
RequestFlow::PartPtr RequestFlow::TakeNext(Moment now, Leaving* leaving, Moment* ask_again) {
  PartPtr part;
  const bool probing = pacer_.probing();
  if (control_ != nullptr) {
    const Moment start = TryStart(control_.get(), now, leaving);
    if (start <= now) part = std::exchange(control_, nullptr);
    *ask_again = std::min(*ask_again, start);
  }
  // What all other requests would come to is about to be known.
  const bool held = control_out_ && !suspects_.empty();
  if (part == nullptr && !held && !retries_.empty()) {
    const auto next = retries_.begin();
    const Moment ready = probing ? now : next->first;
    const Moment start = ready > now ? ready : TryStart(next->second.get(), now, leaving);
    if (start <= now) {
      part = std::move(next->second);
      retries_.erase(next);
    }
    *ask_again = std::min(*ask_again, start);
  }
  if (part == nullptr && !held && !queue_.empty()) {
    const Moment start = TryStart(queue_.front().get(), now, leaving);
    if (start <= now) {
      part = std::move(queue_.front());
      queue_.pop_front();
    }
    *ask_again = std::min(*ask_again, start);
  }
  if (part == nullptr) return nullptr;
  ++requests_;
  if (part->attempts > 0 || part->is_again) ++retried_;
  ++part->attempts;
  ++part->in_air;
  alibi_.Leaves(&part->trial);
  part->is_probe = probing;
  part->hedged = part->answered = false;
  part->left_at = now;
  part->tickets.clear();
  if (options_.hedge) by_age_.emplace_back(now, part);
  return part;
}

RequestFlow::PartPtr RequestFlow::TakeStraggler(Moment now, Leaving* leaving, Moment* ask_again) {
  while (!by_age_.empty()) {
    const auto& [left_at, weak] = by_age_.front();
    PartPtr part = weak.lock();
    const bool alone = part != nullptr && part->left_at == left_at && part->in_air == 1 && !part->answered;
    if (alone && left_at + latencies_.Late() > now) {
      *ask_again = std::min(*ask_again, left_at + latencies_.Late());
      return nullptr;
    }
    by_age_.pop_front();
    if (!alone) continue;
    SpendHold money;
    if (options_.spend != nullptr && options_.spend->Offer(part->tokens, &money) != SpendCap::Answer::kTaken) continue;
    if (pacer_.TryStart(SendReason::kHedge, part->tokens, now, &leaving->departure) > now) continue;
    money.Leave();
    leaving->money = std::move(money);
    ++requests_;
    ++hedged_;
    ++part->in_air;
    part->hedged = true;
    return part;
  }
  return nullptr;
}

// As Pacer::TryStart, with the money for it.
Moment RequestFlow::TryStart(Part* part, Moment now, Leaving* leaving) {
  if (options_.spend == nullptr) return pacer_.TryStart(part->reason, part->tokens, now, &leaving->departure);
  Call* const call = part->call;
  SpendHold more;
  if (call->money.tokens() < part->tokens) {
    const SpendCap::Answer answer = options_.spend->Take(call->funded ? part->tokens : call->tokens, &more);
    if (answer != SpendCap::Answer::kTaken) return AskForMoneyAgain(*part, answer, now);
    without_money_since_ = absl::InfiniteDuration();
  }
  const Moment start = pacer_.TryStart(part->reason, part->tokens, now, &leaving->departure);
  if (start > now) return start;
  call->funded = true;
  call->money.Add(std::move(more));
  leaving->money = call->money.Split(part->tokens);
  leaving->money.Leave();
  return start;
}

// A reply that nobody reads, as its batch waits for others, must not keep us waiting for ever.
Moment RequestFlow::AskForMoneyAgain(const Part& part, SpendCap::Answer answer, Moment now) {
  if (answer == SpendCap::Answer::kAskLater) without_money_since_ = absl::InfiniteDuration();
  if (answer == SpendCap::Answer::kAskSoon) {
    without_money_since_ = std::min(without_money_since_, now);
    if (now - without_money_since_ >= kReadingTakesAtMost) options_.spend->Close(part.tokens);
  }
  return now + kAskForMoneyAgain;
}

// Nothing leaves any more. What is in the air comes home.
void RequestFlow::EndForMoney() {
  std::vector<PartPtr> waiting;
  absl::Status reached;
  {
    const MutexLock lock(&mutex_);
    if (stopped_.ok()) stopped_ = options_.spend->Reached();
    reached = stopped_;
    waiting = TakeAllWaiting();
  }
  EndAll(std::move(waiting), reached);
}

void RequestFlow::Launch(PartPtr part, Leaving leaving) {
  HttpRequest request{.url = options_.url,
                      .headers = options_.headers,
                      .body = part->body,
                      .connect_timeout = options_.connect_timeout,
                      .total_timeout = options_.timeout,
                      .max_reply_bytes = part->max_reply_bytes};
  {
    const MutexLock lock(&mutex_);
    if (part->is_probe) {
      request.total_timeout = std::min(options_.timeout, std::max(kShortestProbe, kProbeLatencies * pacer_.latency()));
    }
    if (!spare_replies_.empty()) {
      request.reply_buffer = std::move(spare_replies_.back());
      spare_replies_.pop_back();
    }
  }
  // Two sendings at a time would write to the same rows.
  if (options_.base64_dim > 0 && !options_.hedge) {
    const auto dim = static_cast<size_t>(options_.base64_dim);
    part->vectors.emplace(options_.base64_dim,
                          part->call->batch->vectors().subspan(part->first * dim, part->count * dim));
    request.read_body = [stream = &*part->vectors](absl::string_view piece, std::string* body) {
      stream->Add(piece, body);
    };
  }
  const HttpLoop::Ticket ticket = http_->Start(
      std::move(request), [this, part, left = std::move(leaving)](absl::StatusOr<HttpReply> answer) mutable {
        OnAnswer(std::move(part), std::move(left), std::move(answer));
      });
  if (!options_.hedge) return;
  const MutexLock lock(&mutex_);
  part->tickets.push_back(ticket);
}

void RequestFlow::OnAnswer(PartPtr part, Leaving left, absl::StatusOr<HttpReply> answer) {
  bool dropped = false;
  {
    const MutexLock lock(&mutex_);
    --part->in_air;
    dropped = std::exchange(part->answered, true);
    if (dropped) pacer_.Ended(left.departure, SendOutcome::kDropped, MonotonicNow());
    if (told_to_stop_ && absl::IsCancelled(answer.status())) {  // it was in the air at Stop(kDrop)
      if (NothingWasSent(answer.status())) {
        answer = Unsent(stopped_);
        --requests_;
      } else {
        answer = stopped_;
        texts_dropped_ += dropped || part->is_control ? 0 : part->count;
      }
    }
  }
  if (dropped) return Dispatch();
  if (part->vectors.has_value() && answer.ok()) part->decoded = part->vectors->Finish(&answer->body);
  if (answer.ok()) BlankOutMark(&answer->body);
  RequestVerdict verdict = judge_.Judge(answer, part->call->batch->texts().subspan(part->first, part->count));
  Settle(std::move(part), std::move(left), std::move(verdict), answer.ok() ? *std::move(answer) : HttpReply());
}

}  // namespace reembed
