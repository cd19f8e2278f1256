#include "io/embed/request_flow.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "io/embed/api_error.h"
#include "io/embed/vector_stream.h"
#include "io/net/http_loop.h"

namespace reembed {
namespace {

constexpr size_t kReadMessageBytes = 4096;           // of what an API says, looked at
constexpr size_t kShownMessageBytes = 200;           // shown
constexpr size_t kMaxErrorIn200 = size_t{16} << 10;  // larger replies are taken for vectors, and proved so by Decode

// Runs of so many bytes of a key or a text do not get into messages; shorter texts are everyday words.
constexpr size_t kKeyRun = 6;
constexpr size_t kTextRun = 16;
constexpr size_t kShortestMaskedText = 4;

// During an outage a request finds out soon whether the server is back.
constexpr absl::Duration kShortestProbe = absl::Seconds(5);
constexpr int kProbeLatencies = 4;

bool LooksLikeJson(absl::string_view body) {
  const size_t first = body.find_first_not_of(" \t\r\n");
  return first != absl::string_view::npos && (body[first] == '{' || body[first] == '[');
}

double NumberOr(absl::string_view text, double otherwise) {
  double number = 0;
  return absl::SimpleAtod(text, &number) ? number : otherwise;
}

QuotaReport QuotaOf(const HttpReply& reply) {
  return {.limit_requests = NumberOr(reply.Header("x-ratelimit-limit-requests"), 0),
          .remaining_requests = NumberOr(reply.Header("x-ratelimit-remaining-requests"), -1),
          .limit_tokens = NumberOr(reply.Header("x-ratelimit-limit-tokens"), 0),
          .remaining_tokens = NumberOr(reply.Header("x-ratelimit-remaining-tokens"), -1)};
}

// The header of OpenAI's servers that overrules the status, for what may pass or not; a wrong key stays wrong.
// Source: `x-should-retry` in the official OpenAI clients.
ReplyClass Overruled(ReplyClass reply_class, const HttpReply& reply, bool* give_up) {
  const absl::string_view word = reply.Header("x-should-retry");
  const bool may_pass = reply.status >= 500 || reply.status == 408 || reply.status == 409;
  if (word == "true" && reply_class == ReplyClass::kStop && may_pass) return ReplyClass::kRetry;
  if (word == "false" && reply_class == ReplyClass::kRetry) *give_up = true;
  return reply_class;
}

}  // namespace

// One Send() under way.
struct RequestFlow::Call {
  Batch* batch = nullptr;
  Done done;
  int open_parts = 0;
  absl::Status failure;  // the first
};

// One request: the texts [first, first + count) of a call's batch. Guarded by mutex_ while more than one thread may
// have it: from Submit() to the answer that is taken.
struct RequestFlow::Part {
  Call* call = nullptr;  // gone when its answer has been taken
  int first = 0;
  int count = 0;
  int64_t tokens = 0;
  size_t max_reply_bytes = 0;
  std::string body;
  bool is_again = false;  // the API has been asked for these texts before, in another request
  SendReason reason = SendReason::kFirst;
  int attempts = 0;                                 // sendings so far, but for hedges
  Moment failing_since = absl::InfiniteDuration();  // for how long it goes wrong
  bool is_probe = false;
  int in_air = 0;  // sendings under way: two when hedged
  bool hedged = false;
  bool answered = false;                // an answer has been taken: that of the twin is dropped
  Moment left_at;                       // the last time, but for hedges
  std::optional<VectorStream> vectors;  // of the sending under way
  std::vector<DecodedVector> decoded;   // of the answer
  std::vector<HttpLoop::Ticket> tickets;
};

// What becomes of an answer.
struct RequestFlow::Verdict {
  ReplyClass reply_class = ReplyClass::kOk;
  SendOutcome outcome = SendOutcome::kOk;
  absl::Status status;                       // what the part ends with, when it does
  std::optional<absl::Duration> named_wait;  // that the server asked for
  bool give_up = false;                      // it is not to be asked again
  Excess excess;                             // for kSplit
};

absl::StatusOr<std::unique_ptr<RequestFlow>> RequestFlow::Make(FlowOptions options, BodyWriter write_body) {
  const HttpLoopOptions loop_options{.threads = options.loop_threads,
                                     .ca_file = options.ca_file,
                                     .proxy = options.proxy,
                                     .accept_gzip = options.accept_gzip};
  std::unique_ptr<RequestFlow> flow(new RequestFlow(std::move(options), std::move(write_body)));
  auto loop = HttpLoop::Make(loop_options, [flow = flow.get()] { flow->Dispatch(); });
  if (!loop.ok()) return loop.status();
  flow->loop_ = *std::move(loop);
  flow->http_ = flow->loop_.get();
  return flow;
}

RequestFlow::RequestFlow(FlowOptions options, BodyWriter write_body)
    : options_(std::move(options)),
      write_body_(std::move(write_body)),
      where_(UrlForMessages(options_.url)),
      pacer_({.limit = options_.limit,
              .concurrency = options_.concurrency,
              .fixed_concurrency = options_.fixed_concurrency,
              .retry = options_.retry}),
      random_(options_.seed) {}

RequestFlow::~RequestFlow() { Cancel(); }

void RequestFlow::Send(Batch* batch, Done done) {
  Recycle(&batch->replies());
  auto call = std::make_unique<Call>();
  call->batch = batch;
  // One, unless there are more texts than a request takes, or texts in the middle are refused already.
  std::vector<PartPtr> parts;
  const absl::Span<const BatchText> texts = batch->texts();
  const int count = static_cast<int>(texts.size());
  const int64_t max_tokens = batch->limits().max_tokens;  // passed by the parts of one very long text only
  const int most = options_.max_texts > 0 ? options_.max_texts : count;
  for (int first = 0, end = 0; first < count; first = std::max(end, first + 1)) {
    int64_t tokens = 0;
    for (end = first; end < count && end - first < most && texts[end].reject.ok(); ++end) {
      tokens += texts[end].tokens;
      if (max_tokens > 0 && tokens > max_tokens && end > first) break;
    }
    if (end == first) continue;
    end = first + caps_.Fitting(texts.subspan(first, end - first));
    parts.push_back(MakePart(call.get(), first, end - first));
    parts.back()->is_again = batch->attempts() > 0;
  }
  if (parts.empty()) return std::move(done)(absl::OkStatus());
  call->done = std::move(done);
  call->open_parts = static_cast<int>(parts.size());
  (void)call.release();  // End() of its last part takes it back
  for (PartPtr& part : parts) Submit(std::move(part));
  Dispatch();
}

void RequestFlow::Cancel() {
  std::vector<PartPtr> waiting;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    waiting = TakeAllWaiting();
  }
  if (http_ != nullptr) http_->Cancel();
  EndAll(std::move(waiting), absl::CancelledError("cancelled"));
}

ClientStats RequestFlow::stats() const {
  const std::lock_guard lock(mutex_);
  return {.requests = requests_,
          .requests_retried = retried_,
          .http_429 = http_429_,
          .requests_hedged = hedged_,
          .concurrency = pacer_.concurrency(),
          .tokens = tokens_};
}

void RequestFlow::CountTokens(int64_t tokens, int64_t estimated) {
  CountTokens(tokens);
  const std::lock_guard lock(mutex_);
  pacer_.Correct(estimated, tokens);
}

void RequestFlow::Recycle(std::vector<Reply>* replies) {
  {
    const std::lock_guard lock(mutex_);
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
    const std::lock_guard lock(mutex_);
    if (!spare_bodies_.empty()) {
      part->body = std::move(spare_bodies_.back());
      spare_bodies_.pop_back();
    }
  }
  part->call = call;
  part->first = first;
  part->count = count;
  part->max_reply_bytes = call->batch->limits().max_reply_bytes;
  const absl::Span<const BatchText> texts = call->batch->texts().subspan(first, count);
  for (const BatchText& text : texts) part->tokens += text.tokens;
  write_body_(texts, &part->body);
  return part;
}

// Somebody has to call Dispatch() afterwards.
void RequestFlow::Submit(PartPtr part) {
  absl::Status refused;
  {
    const std::lock_guard lock(mutex_);
    refused = cancelled_ ? absl::CancelledError("cancelled") : stopped_;
    if (refused.ok()) return queue_.push_back(std::move(part));
  }
  End(std::move(part), std::move(refused));
}

// Sends what may leave now, and has itself called again when more may. Whoever changes what it depends on calls it.
void RequestFlow::Dispatch() {
  for (;;) {
    Departure departure;
    Moment ask_again = absl::InfiniteDuration();
    PartPtr part;
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_ || !stopped_.ok()) return;
      const Moment now = MonotonicNow();
      part = TakeNext(now, &departure, &ask_again);
      if (part == nullptr && options_.hedge) part = TakeStraggler(now, &departure, &ask_again);
    }
    if (part == nullptr) {
      if (ask_again < absl::InfiniteDuration()) http_->SetTimer(ask_again);
      return;
    }
    Launch(std::move(part), departure);
  }
}

// Requires mutex_. Those that failed before go first, as their batches have waited longest.
RequestFlow::PartPtr RequestFlow::TakeNext(Moment now, Departure* departure, Moment* ask_again) {
  PartPtr part;
  const bool probing = pacer_.probing();
  if (!retries_.empty()) {
    const auto next = retries_.begin();
    const Moment ready = probing ? now : next->first;
    const Moment start =
        ready > now ? ready : pacer_.TryStart(next->second->reason, next->second->tokens, now, departure);
    if (start <= now) {
      part = std::move(next->second);
      retries_.erase(next);
    }
    *ask_again = std::min(*ask_again, start);
  }
  if (part == nullptr && !queue_.empty()) {
    const Moment start = pacer_.TryStart(queue_.front()->reason, queue_.front()->tokens, now, departure);
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
  part->is_probe = probing;
  part->hedged = part->answered = false;
  part->left_at = now;
  part->tickets.clear();
  if (options_.hedge) by_age_.emplace_back(now, part);
  return part;
}

// Requires mutex_.
RequestFlow::PartPtr RequestFlow::TakeStraggler(Moment now, Departure* departure, Moment* ask_again) {
  while (!by_age_.empty()) {
    const auto& [left_at, weak] = by_age_.front();
    const PartPtr part = weak.lock();
    const bool alone = part != nullptr && part->left_at == left_at && part->in_air == 1 && !part->answered;
    if (alone && left_at + latencies_.Late() > now) {
      *ask_again = std::min(*ask_again, left_at + latencies_.Late());
      return nullptr;
    }
    by_age_.pop_front();
    if (!alone || pacer_.TryStart(SendReason::kHedge, part->tokens, now, departure) > now) continue;
    ++requests_;
    ++hedged_;
    ++part->in_air;
    part->hedged = true;
    return part;
  }
  return nullptr;
}

void RequestFlow::Launch(PartPtr part, const Departure& departure) {
  HttpRequest request{.url = options_.url,
                      .headers = options_.headers,
                      .body = part->body,
                      .connect_timeout = options_.connect_timeout,
                      .total_timeout = options_.timeout,
                      .max_reply_bytes = part->max_reply_bytes};
  {
    const std::lock_guard lock(mutex_);
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
  const HttpLoop::Ticket ticket =
      http_->Start(std::move(request), [this, part, departure](absl::StatusOr<HttpReply> answer) mutable {
        OnAnswer(std::move(part), departure, std::move(answer));
      });
  if (!options_.hedge) return;
  const std::lock_guard lock(mutex_);
  part->tickets.push_back(ticket);
}

void RequestFlow::OnAnswer(PartPtr part, const Departure& departure, absl::StatusOr<HttpReply> answer) {
  bool dropped = false;
  {
    const std::lock_guard lock(mutex_);
    --part->in_air;
    dropped = std::exchange(part->answered, true);
    if (dropped) pacer_.Ended(departure, SendOutcome::kDropped, MonotonicNow());
  }
  if (dropped) return Dispatch();
  if (part->vectors.has_value() && answer.ok()) part->decoded = part->vectors->Finish(&answer->body);
  Verdict verdict = Judge(*part, &answer);
  Settle(std::move(part), departure, std::move(verdict), answer.ok() ? *std::move(answer) : HttpReply());
}

RequestFlow::Verdict RequestFlow::Judge(const Part& part, absl::StatusOr<HttpReply>* answer) const {
  if (!answer->ok()) {
    const absl::Status& status = answer->status();
    const bool late = absl::IsDeadlineExceeded(status);
    const bool too_long = absl::IsDataLoss(status);
    if (!late && !too_long && !absl::IsUnavailable(status)) {
      return {.reply_class = ReplyClass::kStop, .outcome = SendOutcome::kDropped, .status = status};
    }
    return {.reply_class = ReplyClass::kRetry,
            .outcome = too_long ? SendOutcome::kAnswered : SendOutcome::kFailed,
            .status = absl::Status(late ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kUnavailable,
                                   status.message())};
  }
  const HttpReply& reply = **answer;
  ApiError error;
  const bool has_vectors = !part.decoded.empty();
  if (reply.status != 200 || (!has_vectors && reply.body.size() <= kMaxErrorIn200)) error = ParseApiError(reply.body);
  if (reply.status == 200 && error.empty() && !LooksLikeJson(reply.body)) error.message = "the reply is not JSON";
  Verdict verdict;
  verdict.reply_class = ClassifyReply(reply.status, error, part.count, options_.errors);
  if (verdict.reply_class == ReplyClass::kOk) return verdict;
  verdict.reply_class = Overruled(verdict.reply_class, reply, &verdict.give_up);
  const std::string said = WhatItSaid(error, part);
  const std::string message = absl::StrCat(where_, ": HTTP ", reply.status, ": ", said);
  switch (verdict.reply_class) {
    case ReplyClass::kOk:
    case ReplyClass::kSplit:
      verdict.excess = ExcessOf(reply.status, error, options_.errors);
      verdict.outcome = SendOutcome::kAnswered;
      break;
    case ReplyClass::kRejectText:
      verdict.outcome = SendOutcome::kAnswered;
      verdict.status = absl::InvalidArgumentError(message);
      break;
    case ReplyClass::kStop:
      verdict.outcome = SendOutcome::kAnswered;
      verdict.status = StopStatus(reply.status, error, where_, said);
      break;
    case ReplyClass::kRetry:
    case ReplyClass::kRetryWait: {
      const bool broken = verdict.reply_class == ReplyClass::kRetry || (reply.status >= 500 && reply.status <= 599);
      verdict.outcome = broken ? SendOutcome::kFailed : SendOutcome::kRefused;
      verdict.status = broken ? absl::UnavailableError(message) : absl::ResourceExhaustedError(message);
      verdict.named_wait = NamedWait({.retry_after_ms = reply.Header("retry-after-ms"),
                                      .retry_after = reply.Header("retry-after"),
                                      .message = error.message,
                                      .in_body = error.wait},
                                     absl::Now());
      break;
    }
  }
  return verdict;
}

void RequestFlow::Settle(PartPtr part, const Departure& departure, Verdict verdict, HttpReply reply) {
  const Moment now = MonotonicNow();
  const bool again = verdict.reply_class == ReplyClass::kRetry || verdict.reply_class == ReplyClass::kRetryWait;
  bool twin_decides = false;
  std::vector<HttpLoop::Ticket> twins;
  std::vector<PartPtr> hopeless;
  {
    const std::lock_guard lock(mutex_);
    if (reply.status != 0) pacer_.Learn(QuotaOf(reply), departure, now);
    if (reply.status == 429) ++http_429_;
    if (again && (verdict.outcome == SendOutcome::kRefused || verdict.named_wait.has_value())) {
      const bool named = verdict.named_wait.has_value();
      const absl::Duration wait = named ? std::min(*verdict.named_wait, options_.retry.max_wait)
                                        : Backoff(options_.retry, part->attempts, &random_);
      if (verdict.outcome == SendOutcome::kRefused) {
        pacer_.Refused(departure, wait, named, now);
      } else {
        pacer_.Pause(wait, now);
      }
    }
    if (options_.hedge && verdict.outcome == SendOutcome::kOk) latencies_.Add(now - departure.at);
    if (pacer_.Ended(departure, verdict.outcome, now).outage_ended) {
      // The server is well again: nobody sleeps on.
      std::multimap<Moment, PartPtr> released;
      for (auto& [ready, waiting] : retries_) {
        waiting->failing_since = absl::InfiniteDuration();
        released.emplace_hint(released.end(), std::min(ready, now), std::move(waiting));
      }
      retries_ = std::move(released);
    }
    if (verdict.reply_class == ReplyClass::kStop && !cancelled_) {
      // What is true of this request is true of all.
      if (stopped_.ok()) stopped_ = verdict.status;
      hopeless = TakeAllWaiting();
    }
    twin_decides = again && part->in_air > 0;
    if (twin_decides) part->answered = false;
    if (!twin_decides && part->in_air > 0) twins = part->tickets;
  }
  for (const HttpLoop::Ticket twin : twins) http_->Abandon(twin);
  if (twin_decides) return Dispatch();
  Dispatch();  // first of all, the next request leaves
  switch (verdict.reply_class) {
    case ReplyClass::kOk:
      return Keep(std::move(part), std::move(reply));
    case ReplyClass::kSplit:
      return Split(std::move(part), verdict.excess);
    case ReplyClass::kRejectText:
      return Reject(std::move(part), std::move(verdict.status));
    case ReplyClass::kStop:
      EndAll(std::move(hopeless), verdict.status);
      return End(std::move(part), std::move(verdict.status));
    case ReplyClass::kRetry:
    case ReplyClass::kRetryWait:
      return Retry(std::move(part), verdict, now);
  }
}

void RequestFlow::Keep(PartPtr part, HttpReply reply) {
  {
    const std::lock_guard lock(mutex_);
    part->call->batch->replies().push_back({.first_text = part->first,
                                            .texts = part->count,
                                            .body = std::move(reply.body),
                                            .decoded = std::move(part->decoded)});
  }
  End(std::move(part), absl::OkStatus());
}

void RequestFlow::Reject(PartPtr part, absl::Status reject) {
  {
    const std::lock_guard lock(mutex_);
    part->call->batch->texts()[part->first].reject = std::move(reject);
  }
  End(std::move(part), absl::OkStatus());
}

// In as many parts as fit what the refusal said, or else in halves.
void RequestFlow::Split(PartPtr part, const Excess& excess) {
  const absl::Span<const BatchText> texts = part->call->batch->texts().subspan(part->first, part->count);
  caps_.Refused(texts, excess);
  const bool too_much = excess.measure != Measure::kNone;
  const int fitting = too_much ? caps_.Fitting(texts) : part->count;
  int next = fitting < part->count ? fitting : part->count / 2;
  std::vector<PartPtr> parts;
  for (int begin = 0; begin < part->count;) {
    parts.push_back(MakePart(part->call, part->first + begin, next));
    parts.back()->is_again = true;
    begin += next;
    next = too_much ? caps_.Fitting(texts.subspan(begin)) : part->count - begin;
  }
  absl::Status refused;
  {
    const std::lock_guard lock(mutex_);
    refused = cancelled_ ? absl::CancelledError("cancelled") : stopped_;
    if (refused.ok()) {
      part->call->open_parts += static_cast<int>(parts.size()) - 1;
      queue_.insert(queue_.begin(), std::make_move_iterator(parts.begin()), std::make_move_iterator(parts.end()));
    }
  }
  if (!refused.ok()) return End(std::move(part), std::move(refused));
  Dispatch();
}

void RequestFlow::Retry(PartPtr part, const Verdict& verdict, Moment now) {
  enum class Next { kAgain, kGiveUp, kEnd } next = Next::kAgain;
  absl::Status end;
  {
    const std::lock_guard lock(mutex_);
    part->failing_since = std::min(part->failing_since, now);
    const bool exhausted = part->attempts >= options_.retry.max_attempts &&
                           (!pacer_.ever_well() || now - part->failing_since >= options_.retry.outage_limit());
    if (end = cancelled_ ? absl::CancelledError("cancelled") : stopped_; !end.ok()) {
      next = Next::kEnd;
    } else if (verdict.give_up || exhausted || pacer_.GivenUp(now)) {
      next = Next::kGiveUp;
    } else {
      // A refusal holds everybody back, not this one alone.
      const bool refused = verdict.outcome == SendOutcome::kRefused;
      part->reason = refused ? SendReason::kRefused : SendReason::kFailed;
      const Moment ready = refused ? now : now + Backoff(options_.retry, part->attempts, &random_);
      retries_.emplace(ready, std::move(part));
    }
  }
  if (next == Next::kAgain) return Dispatch();
  if (next == Next::kEnd) return End(std::move(part), std::move(end));
  GiveUp(std::move(part), verdict, now);
}

void RequestFlow::GiveUp(PartPtr part, const Verdict& verdict, Moment now) {
  std::string message = absl::StrCat(verdict.status.message(), "; gave up after ", part->attempts, " attempts");
  std::vector<PartPtr> others;  // an outage without an end is that of all
  {
    const std::lock_guard lock(mutex_);
    if (pacer_.GivenUp(now)) {
      others = TakeAllWaiting();
      absl::StrAppend(&message, ", no answer to any request for ",
                      absl::FormatDuration(absl::Trunc(pacer_.FailingFor(now), absl::Seconds(1))));
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
void RequestFlow::End(PartPtr part, absl::Status status) {
  std::unique_ptr<Call> ended;
  std::vector<PartPtr> needless;
  {
    const std::lock_guard lock(mutex_);
    Call* const call = part->call;
    if (!status.ok() && call->failure.ok()) {
      call->failure = std::move(status);
      const auto take = [&](const PartPtr& waiting) {
        if (waiting->call != call) return false;
        needless.push_back(waiting);
        return true;
      };
      std::erase_if(queue_, take);
      std::erase_if(retries_, [&](const auto& entry) { return take(entry.second); });
      call->open_parts -= static_cast<int>(needless.size());
    }
    if (--call->open_parts == 0) ended.reset(call);
    // A twin that is still under way sends from this body.
    if (part.use_count() == 1 && static_cast<int>(spare_bodies_.size()) < options_.concurrency) {
      spare_bodies_.push_back(std::move(part->body));
    }
  }
  if (ended != nullptr) std::move(ended->done)(std::move(ended->failure));
}

void RequestFlow::EndAll(std::vector<PartPtr> parts, const absl::Status& status) {
  for (PartPtr& part : parts) End(std::move(part), status);
}

// Requires mutex_.
std::vector<RequestFlow::PartPtr> RequestFlow::TakeAllWaiting() {
  std::vector<PartPtr> waiting(queue_.begin(), queue_.end());
  queue_.clear();
  for (auto& [ready, part] : retries_) waiting.push_back(std::move(part));
  retries_.clear();
  return waiting;
}

std::string RequestFlow::WhatItSaid(const ApiError& error, const Part& part) const {
  std::string said = Shorten(error.message.empty() ? "no reason named" : error.message, kReadMessageBytes);
  said = Shorten(MaskShared(said, options_.secret, kKeyRun), kShownMessageBytes);
  for (const BatchText& text : part.call->batch->texts().subspan(part.first, part.count)) {
    if (text.text.size() >= kShortestMaskedText) said = MaskShared(said, text.text, kTextRun);
  }
  return said;
}

}  // namespace reembed
