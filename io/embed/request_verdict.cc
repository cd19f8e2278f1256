#include "io/embed/request_verdict.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "io/embed/api_error.h"
#include "io/net/unsent.h"

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

double NumberOr(absl::string_view text, double otherwise) {
  double number = 0;
  return absl::SimpleAtod(text, &number) ? number : otherwise;
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

RequestVerdict NoAnswer(const absl::Status& status) {
  const bool late = absl::IsDeadlineExceeded(status);
  const bool too_long = absl::IsDataLoss(status);
  if (!late && !too_long && !absl::IsUnavailable(status)) {
    return {.reply_class = ReplyClass::kStop,
            .outcome = SendOutcome::kDropped,
            .status = status,
            .may_cost = !NothingWasSent(status)};
  }
  return {.reply_class = ReplyClass::kRetry,
          .outcome = too_long ? SendOutcome::kAnswered : SendOutcome::kFailed,
          .status = absl::Status(late ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kUnavailable,
                                 status.message()),
          .may_cost = !NothingWasSent(status)};
}

}  // namespace

QuotaReport QuotaOf(const HttpReply& reply) {
  return {.limit_requests = NumberOr(reply.Header("x-ratelimit-limit-requests"), 0),
          .remaining_requests = NumberOr(reply.Header("x-ratelimit-remaining-requests"), -1),
          .limit_tokens = NumberOr(reply.Header("x-ratelimit-limit-tokens"), 0),
          .remaining_tokens = NumberOr(reply.Header("x-ratelimit-remaining-tokens"), -1)};
}

RequestJudge::RequestJudge(std::string where, std::string secret, const ErrorTraits& errors)
    : where_(std::move(where)), secret_(std::move(secret)), errors_(errors) {}

RequestVerdict RequestJudge::Judge(const absl::StatusOr<HttpReply>& answer, absl::Span<const BatchText> texts) const {
  if (!answer.ok()) return NoAnswer(answer.status());
  const HttpReply& reply = *answer;
  ApiError error;
  if (reply.status != 200 || reply.body.size() <= kMaxErrorIn200) error = ParseApiError(reply.body);
  if (reply.status == 200 && error.empty() && !LooksLikeJson(reply.body)) error.message = "the reply is not JSON";
  RequestVerdict verdict;
  verdict.reply_class = ClassifyReply(reply.status, error, static_cast<int>(texts.size()), errors_);
  verdict.may_cost = verdict.reply_class == ReplyClass::kOk;
  if (verdict.reply_class == ReplyClass::kOk) return verdict;
  verdict.reply_class = Overruled(verdict.reply_class, reply, &verdict.give_up);
  const std::string said = WhatItSaid(error, texts);
  const std::string message = absl::StrCat(where_, ": HTTP ", reply.status, ": ", said);
  switch (verdict.reply_class) {
    case ReplyClass::kOk:
    case ReplyClass::kSplit:
      verdict.excess = ExcessOf(reply.status, error, errors_);
      verdict.outcome = SendOutcome::kAnswered;
      break;
    case ReplyClass::kRejectText:
      verdict.excess = ExcessOf(reply.status, error, errors_);
      verdict.outcome = SendOutcome::kAnswered;
      verdict.status = absl::InvalidArgumentError(message);
      if (!IsKnownError(reply.status, error, errors_)) verdict.unknown_words = said;
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

std::string RequestJudge::WhatItSaid(const ApiError& error, absl::Span<const BatchText> texts) const {
  std::string said = Shorten(error.message.empty() ? "no reason named" : error.message, kReadMessageBytes);
  said = Shorten(MaskShared(said, secret_, kKeyRun), kShownMessageBytes);
  for (const BatchText& text : texts) {
    if (text.text.size() >= kShortestMaskedText) said = MaskShared(said, text.text, kTextRun);
  }
  return said;
}

bool AlikeRefusals::Add(absl::string_view unknown_words) {
  if (ever_taken_) return false;
  std::string words(unknown_words);
  words.erase(std::remove_if(words.begin(), words.end(), [](char c) { return absl::ascii_isdigit(c); }), words.end());
  if (alike_ == 0) words_ = words;
  if (words == words_) ++alike_;
  return alike_ >= kEnough;
}

}  // namespace reembed
