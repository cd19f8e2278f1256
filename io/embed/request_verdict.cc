// SPDX-License-Identifier: Apache-2.0
#include "io/embed/request_verdict.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/pace/wait_hints.h"
#include "engine/shown_text.h"
#include "io/embed/api_error.h"
#include "io/embed/body_wait.h"
#include "io/net/unsent.h"
#include "io/net/url.h"

namespace reembed {
namespace {

constexpr size_t kShownMessageBytes = 200;           // of what an API says
constexpr size_t kMaxErrorIn200 = size_t{16} << 10;  // larger replies are taken for vectors, and proved so by Decode

// Runs of so many bytes of a text do not get into messages; shorter texts are everyday words.
constexpr size_t kTextRun = 16;
constexpr size_t kShortestMaskedText = 4;

bool LooksLikeJson(absl::string_view body) {
  const size_t first = body.find_first_not_of(" \t\r\n");
  return first != absl::string_view::npos && (body[first] == '{' || body[first] == '[');
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
          .may_cost = !NothingWasSent(status),
          .timed_out = late};
}

}  // namespace

RequestJudge::RequestJudge(absl::string_view url, absl::string_view through, std::vector<std::string> secrets,
                           const ErrorTraits& errors, ReachHints hints)
    : url_(UrlForMessages(url)),
      where_(absl::StrCat(url_, through)),
      secrets_(std::move(secrets)),
      errors_(errors),
      hints_(std::move(hints)) {}

// Where a redirect leads, and what to do about it: nothing is sent there by itself, as it would be sent the key.
std::string RequestJudge::Redirected(const HttpReply& reply) const {
  const absl::string_view location = reply.Header("location");
  if (location.empty()) return "";
  const std::string target = UrlForMessages(ResolveReference(url_, location));
  const bool same_host = absl::EqualsIgnoreCase(UrlHost(target), UrlHost(url_));
  return absl::StrCat("redirected to ", ServerWords(target, secrets_, kShownMessageBytes),
                      same_host ? "" : ", another host; nothing was sent there",
                      "; if that is the API, give it as the base of the API");
}

RequestVerdict RequestJudge::Judge(const absl::StatusOr<HttpReply>& answer, absl::Span<const BatchText> texts) const {
  if (!answer.ok()) return NoAnswer(answer.status());
  const HttpReply& reply = *answer;
  ApiError error;
  if (reply.status != 200 || reply.body.size() <= kMaxErrorIn200) error = ParseApiError(reply.body);
  bool may_be_vectors = false;
  if (reply.status == 200 && error.empty() && !LooksLikeJson(reply.body)) {
    const bool is_page = absl::StartsWith(absl::StripAsciiWhitespace(reply.body), "<");
    may_be_vectors = !is_page;  // that came empty or torn; a page has another author than the API
    // A web page at an address that lacks something does not pass.
    const bool wrong_address = !hints_.address.empty() && is_page;
    error.message = wrong_address ? "the reply is a web page" : "the reply is not JSON";
    if (wrong_address) error.code = "404";
  }
  if (reply.status >= 300 && reply.status < 400 && error.empty()) error.message = Redirected(reply);
  RequestVerdict verdict;
  verdict.reply_class = ClassifyReply(reply.status, error, static_cast<int>(texts.size()), errors_);
  verdict.may_cost = verdict.reply_class == ReplyClass::kOk || may_be_vectors;
  if (verdict.reply_class == ReplyClass::kOk) return verdict;
  verdict.reply_class = Overruled(verdict.reply_class, reply, &verdict.give_up);
  const std::string said = WhatItSaid(error.message.empty() ? absl::string_view(reply.body) : error.message, texts);
  const std::string message = absl::StrCat(where_, ": HTTP ", reply.status, ": ", said);
  const bool refused = verdict.reply_class == ReplyClass::kSplit || verdict.reply_class == ReplyClass::kRejectText;
  verdict.unknown = refused && !IsKnownError(reply.status, error, errors_);
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
      break;
    case ReplyClass::kStop:
      verdict.outcome = SendOutcome::kAnswered;
      verdict.status = StopStatus(reply.status, error, where_, said, hints_);
      break;
    case ReplyClass::kRetry:
    case ReplyClass::kRetryWait: {
      const bool broken = verdict.reply_class == ReplyClass::kRetry || (reply.status >= 500 && reply.status <= 599);
      verdict.outcome = broken ? SendOutcome::kFailed : SendOutcome::kRefused;
      verdict.status = broken ? absl::UnavailableError(message) : absl::ResourceExhaustedError(message);
      const std::string in_body = WaitInBody(reply.body);
      verdict.named_wait = NamedWait({.headers = reply.headers,
                                      .in_body = error.wait.empty() ? in_body : error.wait,
                                      .message = error.message,
                                      .over_quota = !broken},
                                     absl::Now());
      break;
    }
  }
  return verdict;
}

// A body in which no reason is found is shown as it begins.
std::string RequestJudge::WhatItSaid(absl::string_view message, absl::Span<const BatchText> texts) const {
  std::string said = ServerWords(message, secrets_, kShownMessageBytes);
  if (said.empty()) said = "no reason named";
  for (const BatchText& text : texts) {
    if (text.text.size() >= kShortestMaskedText) said = MaskShared(said, text.text, kTextRun);
  }
  return said;
}

}  // namespace reembed
