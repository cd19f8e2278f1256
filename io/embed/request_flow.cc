#include "io/embed/request_flow.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/embed/api_error.h"
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

bool LooksLikeJson(absl::string_view body) {
  const size_t first = body.find_first_not_of(" \t\r\n");
  return first != absl::string_view::npos && (body[first] == '{' || body[first] == '[');
}

}  // namespace

// One Send() under way.
struct RequestFlow::Call {
  Batch* batch = nullptr;
  Done done;
  int open_parts = 0;
  absl::Status failure;  // the first
};

// One request: the texts [first, first + count) of a call's batch. One thread has it at a time.
struct RequestFlow::Part {
  Call* call = nullptr;
  int first = 0;
  int count = 0;
  int64_t tokens = 0;
  std::string body;
  int attempts = 0;       // sendings so far
  bool is_again = false;  // the API has been asked for these texts before, in another request
  bool reserved = false;  // has its place in the quota
  bool in_air = false;
};

absl::StatusOr<std::unique_ptr<RequestFlow>> RequestFlow::Make(FlowOptions options, BodyWriter write_body) {
  auto loop = HttpLoop::Make({.threads = options.loop_threads,
                              .ca_file = options.ca_file,
                              .proxy = options.proxy,
                              .accept_gzip = options.accept_gzip});
  if (!loop.ok()) return loop.status();
  return std::unique_ptr<RequestFlow>(new RequestFlow(std::move(options), std::move(write_body), *std::move(loop)));
}

RequestFlow::RequestFlow(FlowOptions options, BodyWriter write_body, std::unique_ptr<HttpLoop> loop)
    : options_(std::move(options)),
      write_body_(std::move(write_body)),
      where_(UrlForMessages(options_.url)),
      limiter_(options_.limit),
      random_(options_.seed),
      loop_(std::move(loop)),
      http_(loop_.get()) {}

RequestFlow::~RequestFlow() { Cancel(); }

void RequestFlow::Send(Batch* batch, Done done) {
  Recycle(&batch->replies());
  auto call = std::make_unique<Call>();
  call->batch = batch;
  // One, unless there are more texts than a request takes, or texts in the middle are refused already.
  std::vector<PartPtr> parts;
  const absl::Span<const BatchText> texts = batch->texts();
  const int count = static_cast<int>(texts.size());
  const int most = options_.max_texts > 0 ? options_.max_texts : count;
  for (int first = 0, end = 0; first < count; first = std::max(end, first + 1)) {
    for (end = first; end < count && end - first < most && texts[end].reject.ok(); ++end) {
    }
    if (end == first) continue;
    parts.push_back(MakePart(call.get(), first, end - first));
    parts.back()->is_again = batch->attempts() > 0;
  }
  if (parts.empty()) return std::move(done)(absl::OkStatus());
  call->done = std::move(done);
  call->open_parts = static_cast<int>(parts.size());
  (void)call.release();  // End() of its last part takes it back
  for (PartPtr& part : parts) Submit(std::move(part));
}

void RequestFlow::Cancel() {
  std::deque<PartPtr> queue;
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    queue.swap(queue_);
    slots_used_ += static_cast<int>(queue.size());
  }
  http_->Cancel();
  for (PartPtr& part : queue) Launch(std::move(part), MonotonicNow());  // the loop answers them
}

ClientStats RequestFlow::stats() const {
  return {.requests = requests_, .requests_retried = retried_, .http_429 = http_429_, .tokens = tokens_};
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
  auto part = std::make_unique<Part>();
  {
    const std::lock_guard lock(mutex_);
    if (!spare_parts_.empty()) {
      part->body = std::move(spare_parts_.back()->body);
      spare_parts_.pop_back();
    }
  }
  part->call = call;
  part->first = first;
  part->count = count;
  const absl::Span<const BatchText> texts = call->batch->texts().subspan(first, count);
  for (const BatchText& text : texts) part->tokens += text.tokens;
  write_body_(texts, &part->body);
  return part;
}

void RequestFlow::Submit(PartPtr part) {
  {
    const std::lock_guard lock(mutex_);
    if (slots_used_ >= options_.concurrency && !cancelled_) {
      queue_.push_back(std::move(part));
      return;
    }
    ++slots_used_;
  }
  Launch(std::move(part), MonotonicNow());
}

// Requires a slot.
void RequestFlow::Launch(PartPtr part, Moment start) {
  HttpRequest request{.url = options_.url,
                      .headers = options_.headers,
                      .body = part->body,
                      .start = start,
                      .admit = [this, part = part.get()](Moment now) { return Admit(part, now); },
                      .connect_timeout = options_.connect_timeout,
                      .total_timeout = options_.timeout,
                      .max_reply_bytes = part->call->batch->limits().max_reply_bytes};
  {
    const std::lock_guard lock(mutex_);
    if (!spare_replies_.empty()) {
      request.reply_buffer = std::move(spare_replies_.back());
      spare_replies_.pop_back();
    }
  }
  http_->Start(std::move(request), [this, part = std::move(part)](absl::StatusOr<HttpReply> answer) mutable {
    OnAnswer(std::move(part), std::move(answer));
  });
}

// Quota is taken when a request is about to leave, so that a pause in between, or a long backoff, does not void it.
Moment RequestFlow::Admit(Part* part, Moment now) {
  if (!part->reserved || limiter_.PausedUntil() > now) {
    part->reserved = true;
    const Moment start = limiter_.Reserve(part->tokens, now);
    if (start > now) return start;
  }
  ++requests_;
  if (part->attempts > 0 || part->is_again) ++retried_;
  ++part->attempts;
  part->in_air = true;
  ++requests_in_air_;
  tokens_in_air_ += part->tokens;
  return now;
}

void RequestFlow::OnAnswer(PartPtr part, absl::StatusOr<HttpReply> answer) {
  if (std::exchange(part->in_air, false)) {
    --requests_in_air_;
    tokens_in_air_ -= part->tokens;
  }
  if (answer.ok()) return OnReply(std::move(part), *std::move(answer));
  const bool late = answer.status().code() == absl::StatusCode::kDeadlineExceeded;
  const bool broken = absl::IsUnavailable(answer.status()) || absl::IsDataLoss(answer.status());
  if (!late && !broken) return End(std::move(part), std::move(answer).status());
  const RetryWait wait = WaitFor(*part, {});
  Retry(std::move(part), wait, late ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kUnavailable,
        answer.status().message());
}

void RequestFlow::OnReply(PartPtr part, HttpReply reply) {
  SlowDownByHeaders(reply, part->tokens);
  if (reply.status == 429) ++http_429_;
  ApiError error;
  if (reply.status != 200 || reply.body.size() <= kMaxErrorIn200) error = ParseApiError(reply.body);
  if (reply.status == 200 && error.empty() && !LooksLikeJson(reply.body)) error.message = "the reply is not JSON";
  switch (ClassifyReply(reply.status, error, part->count)) {
    case ReplyClass::kOk:
      return Keep(std::move(part), std::move(reply));
    case ReplyClass::kSplit:
      return Split(std::move(part));
    case ReplyClass::kRejectText:
      return Reject(std::move(part), error, reply.status);
    case ReplyClass::kStop: {
      const std::string said = WhatItSaid(error, *part);
      return End(std::move(part), StopStatus(reply.status, error, where_, said));
    }
    case ReplyClass::kRetry: {
      const RetryWait wait = WaitFor(*part, {});
      const std::string failure = absl::StrCat(where_, ": HTTP ", reply.status, ": ", WhatItSaid(error, *part));
      return Retry(std::move(part), wait, absl::StatusCode::kUnavailable, failure);
    }
    case ReplyClass::kRetryWait:
      return PauseAndRetry(std::move(part), reply, error);
  }
}

void RequestFlow::PauseAndRetry(PartPtr part, const HttpReply& reply, const ApiError& error) {
  const RetryWait wait = WaitFor(*part, {.retry_after_ms = reply.Header("retry-after-ms"),
                                         .retry_after = reply.Header("retry-after"),
                                         .message = error.message});
  const bool named = wait.named > absl::ZeroDuration();
  limiter_.Pause(named ? std::min(wait.named, options_.retry.max_wait) : wait.wait, MonotonicNow());
  const std::string failure = absl::StrCat(where_, ": HTTP ", reply.status, ": ", WhatItSaid(error, *part));
  const auto code = reply.status == 429 ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable;
  Retry(std::move(part), wait, code, failure);
}

void RequestFlow::Keep(PartPtr part, HttpReply reply) {
  {
    const std::lock_guard lock(mutex_);
    part->call->batch->replies().push_back(
        {.first_text = part->first, .texts = part->count, .body = std::move(reply.body)});
  }
  End(std::move(part), absl::OkStatus());
}

void RequestFlow::Reject(PartPtr part, const ApiError& error, int http_status) {
  absl::Status reject =
      absl::InvalidArgumentError(absl::StrCat(where_, ": HTTP ", http_status, ": ", WhatItSaid(error, *part)));
  {
    const std::lock_guard lock(mutex_);
    part->call->batch->texts()[part->first].reject = std::move(reject);
  }
  End(std::move(part), absl::OkStatus());
}

// The first half goes on in the slot of the whole.
void RequestFlow::Split(PartPtr part) {
  const int half = part->count / 2;
  PartPtr front = MakePart(part->call, part->first, half);
  PartPtr back = MakePart(part->call, part->first + half, part->count - half);
  front->is_again = back->is_again = true;
  {
    const std::lock_guard lock(mutex_);
    ++part->call->open_parts;
  }
  Launch(std::move(front), MonotonicNow());
  Submit(std::move(back));
}

// Keeps its slot meanwhile: when many fail, fewer are sent.
void RequestFlow::Retry(PartPtr part, const RetryWait& wait, absl::StatusCode code, absl::string_view failure) {
  if (part->attempts < options_.retry.max_attempts) {
    part->reserved = false;
    return Launch(std::move(part), MonotonicNow() + wait.wait);
  }
  std::string message = absl::StrCat(failure, "; gave up after ", part->attempts, " attempts");
  if (wait.named > options_.retry.max_wait) {
    absl::StrAppend(&message, ", of the wait of ", absl::FormatDuration(wait.named), " that it asked for only ",
                    absl::FormatDuration(options_.retry.max_wait), " is granted");
  }
  End(std::move(part), absl::Status(code, absl::StrCat(message, "; run the same command again later")));
}

// Hands the part's slot to the next in the queue, and answers calls that have no part left.
void RequestFlow::End(PartPtr part, absl::Status status) {
  std::vector<std::unique_ptr<Call>> ended;
  {
    const std::lock_guard lock(mutex_);
    for (;;) {
      Call* const call = part->call;
      if (!status.ok() && call->failure.ok()) call->failure = std::move(status);
      if (--call->open_parts == 0) ended.emplace_back(call);
      if (static_cast<int>(spare_parts_.size()) < options_.concurrency) spare_parts_.push_back(std::move(part));
      part = nullptr;
      if (queue_.empty()) {
        --slots_used_;
        break;
      }
      part = std::move(queue_.front());
      queue_.pop_front();
      if (part->call->failure.ok()) break;
      status = absl::OkStatus();  // its call has failed: there is nothing to send for it
    }
  }
  if (part != nullptr) Launch(std::move(part), MonotonicNow());
  for (const auto& call : ended) std::move(call->done)(std::move(call->failure));
}

RetryWait RequestFlow::WaitFor(const Part& part, const WaitHints& hints) {
  const std::lock_guard lock(mutex_);
  return WaitBeforeRetry(options_.retry, part.attempts, hints, absl::Now(), &random_);
}

// Only where nobody told us the quota: otherwise the limiter knows better, as the headers lag behind.
void RequestFlow::SlowDownByHeaders(const HttpReply& reply, int64_t tokens) {
  absl::Duration wait;
  if (options_.limit.requests_per_minute <= 0) {
    wait = DryQuotaWait(reply.Header("x-ratelimit-limit-requests"), reply.Header("x-ratelimit-remaining-requests"),
                        static_cast<double>(requests_in_air_ + 1));
  }
  if (options_.limit.tokens_per_minute <= 0) {
    wait = std::max(wait,
                    DryQuotaWait(reply.Header("x-ratelimit-limit-tokens"), reply.Header("x-ratelimit-remaining-tokens"),
                                 static_cast<double>(tokens_in_air_ + tokens)));
  }
  if (wait > absl::ZeroDuration()) limiter_.Pause(std::min(wait, options_.retry.max_wait), MonotonicNow());
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
