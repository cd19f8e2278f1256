// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_client.h"

#include <simdjson.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/kill_point.h"
#include "engine/pace/rate_limiter.h"
#include "engine/pace/retry.h"
#include "engine/shown_text.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr size_t kMaxReplyBytes = size_t{256} << 20;
constexpr absl::Duration kRequestTimeout = absl::Minutes(5);  // a write may wait for an optimizer
constexpr absl::Duration kConnectTimeout = absl::Seconds(5);
constexpr size_t kMaxShownBytes = 300;  // of the server's words

// {"status":{"error":"..."}}; a proxy says what it likes.
std::string WordsOf(const HttpReply& reply, const std::string& api_key) {
  simdjson::dom::parser parser;
  std::string_view words;
  if (parser.parse(reply.body.data(), reply.body.size())["status"]["error"].get_string().get(words) ==
      simdjson::SUCCESS) {
    return ServerWords({words.data(), words.size()}, {api_key}, kMaxShownBytes);
  }
  return reply.body.empty() ? "" : "an answer that is not Qdrant's";
}

bool IsTransient(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

absl::Status StatusOf(const std::string& where, const HttpReply& reply, const std::string& api_key) {
  const std::string words = WordsOf(reply, api_key);
  const std::string what = absl::StrCat(where, ": HTTP ", reply.status, words.empty() ? "" : absl::StrCat(": ", words));
  const bool too_long = reply.status == 413 || (reply.status == 400 && absl::StrContains(words, "larger than allowed"));
  if (too_long) return absl::OutOfRangeError(what);
  if (IsTransient(reply.status)) return absl::UnavailableError(what);
  switch (reply.status) {
    case 401:
      return absl::UnauthenticatedError(absl::StrCat(what, "; set QDRANT_API_KEY to the server's key"));
    case 403:
      return absl::PermissionDeniedError(
          absl::StrCat(what, "; the key in QDRANT_API_KEY is wrong, or may not do this: it needs to read and write"));
    case 404:
      return absl::NotFoundError(what);
    case 405:
      return absl::UnimplementedError(what);
    case 409:
      return absl::AlreadyExistsError(what);
    case 507:
      return absl::ResourceExhaustedError(absl::StrCat(what, "; give the server more room, then run this again"));
    default:
      break;
  }
  if (reply.status >= 300 && reply.status < 400) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, "; the server is at another address: ",
                     ServerWords(UrlForMessages(reply.Header("location")), {api_key}, kMaxShownBytes)));
  }
  return absl::InvalidArgumentError(what);
}

}  // namespace

struct QdrantClient::Sent {
  QdrantRequest request;
  std::function<void(Answer)> take;
  absl::StatusOr<HttpReply> reply = absl::UnknownError("no answer yet");
  Moment first_failure = absl::InfiniteDuration();
  Moment not_before;
  int attempts = 0;
};

absl::StatusOr<std::unique_ptr<QdrantClient>> QdrantClient::Make(const std::string& url, const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HttpLoop> loop, HttpLoop::Make({}));
  return std::unique_ptr<QdrantClient>(new QdrantClient(url, options, std::move(loop)));
}

QdrantClient::QdrantClient(std::string url, const QdrantOptions& options, std::unique_ptr<HttpLoop> loop)
    : url_(std::move(url)), options_(options), random_(std::random_device()()), loop_(std::move(loop)) {}

QdrantClient::~QdrantClient() { loop_.reset(); }

HttpRequest QdrantClient::HttpOf(const QdrantRequest& request) const {
  HttpRequest http{.method = request.method,
                   .url = absl::StrCat(url_, request.path),
                   .body = request.long_body == nullptr ? request.body : *request.long_body,
                   .connect_timeout = kConnectTimeout,
                   .total_timeout = kRequestTimeout,
                   .max_reply_bytes = kMaxReplyBytes};
  if (!http.body.empty()) http.headers.push_back("content-type: application/json");
  if (!options_.api_key.empty()) http.headers.push_back(absl::StrCat("api-key: ", options_.api_key));
  return http;
}

QdrantClient::Answer QdrantClient::Finish(const QdrantRequest& request, absl::StatusOr<HttpReply> reply) const {
  if (!reply.ok()) {
    const bool lost = absl::IsUnavailable(reply.status()) || absl::IsDeadlineExceeded(reply.status());
    if (!lost) return reply.status();
    return absl::UnavailableError(absl::StrCat(reply.status().message(), "; is Qdrant running there?"));
  }
  if (reply->status == 200) return std::move(reply->body);
  return StatusOf(absl::StrCat(request.method, " ", UrlForMessages(absl::StrCat(url_, request.path))), *reply,
                  options_.api_key);
}

QdrantClient::Answer QdrantClient::Call(const QdrantRequest& request) {
  Answer answer = absl::UnknownError("no answer");
  Start(request, [&](Answer taken) { answer = std::move(taken); });
  Drain();
  return answer;
}

void QdrantClient::Send(std::shared_ptr<Sent> sent) {
  ++sent->attempts;
  HttpRequest http = HttpOf(sent->request);
  loop_->Start(std::move(http), [this, sent = std::move(sent)](absl::StatusOr<HttpReply> reply) {
    sent->reply = std::move(reply);
    const MutexLock lock(&mutex_);
    answered_.push_back(sent);
    arrived_.notify_one();
  });
}

void QdrantClient::Start(QdrantRequest request, std::function<void(Answer)> take) {
  while (under_way_ >= options_.streams) TakeOne();
  ++under_way_;
  auto sent = std::make_shared<Sent>();
  sent->request = std::move(request);
  sent->take = std::move(take);
  Send(std::move(sent));
}

void QdrantClient::Drain() {
  while (under_way_ > 0) TakeOne();
}

std::shared_ptr<QdrantClient::Sent> QdrantClient::NextAnswered() {
  while (true) {
    MutexLock lock(&mutex_);
    if (!answered_.empty()) {
      std::shared_ptr<Sent> sent = std::move(answered_.back());
      answered_.pop_back();
      return sent;
    }
    const auto next = std::min_element(resting_.begin(), resting_.end(),
                                       [](const auto& a, const auto& b) { return a->not_before < b->not_before; });
    const auto arrived = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !answered_.empty(); };
    if (next == resting_.end()) {
      arrived_.wait(lock, arrived);
      continue;
    }
    const absl::Duration rest = (*next)->not_before - MonotonicNow();
    if (rest > absl::ZeroDuration() && arrived_.wait_for(lock, absl::ToChronoNanoseconds(rest), arrived)) continue;
    lock.unlock();
    std::shared_ptr<Sent> sent = std::move(*next);
    resting_.erase(next);
    Send(std::move(sent));
  }
}

void QdrantClient::TakeOne() {
  std::shared_ptr<Sent> sent = NextAnswered();
  KillPoint("qdrant: answered");
  const absl::StatusOr<HttpReply>& reply = sent->reply;
  const bool transient = reply.ok() ? IsTransient(reply->status)
                                    : absl::IsUnavailable(reply.status()) || absl::IsDeadlineExceeded(reply.status());
  if (reply.ok()) *options_.answered = true;
  // An address where nobody has ever answered is probably wrong.
  if (transient && *options_.answered) {
    const Moment now = MonotonicNow();
    sent->first_failure = std::min(sent->first_failure, now);
    const RetryPolicy policy{.first_backoff = absl::Milliseconds(100), .max_wait = absl::Seconds(5)};
    const WaitHints hints{.headers = reply.ok() ? HeaderList(reply->headers) : HeaderList(),
                          .over_quota = reply.ok() && reply->status == 429};
    const RetryWait wait = WaitBeforeRetry(policy, std::min(sent->attempts, 10), hints, absl::Now(), &random_);
    sent->not_before = now + wait.wait;
    if (sent->not_before - sent->first_failure <= options_.patience) {
      resting_.push_back(std::move(sent));
      return;
    }
  }
  --under_way_;
  sent->take(Finish(sent->request, std::move(sent->reply)));
}

std::string QdrantPathPart(absl::string_view name) {
  std::string out;
  for (const char c : name) {
    if (absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(c);
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace reembed
