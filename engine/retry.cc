#include "engine/retry.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

constexpr int kMaxDoublings = 4;  // of the first backoff

bool IsAnyOf(absl::string_view word, std::initializer_list<absl::string_view> words) {
  return !word.empty() && std::find(words.begin(), words.end(), word) != words.end();
}

// Errors that no other request of this run will escape, whatever their HTTP status is.
bool StopsTheRun(const ApiError& error) {
  return IsAnyOf(error.code, {"insufficient_quota", "billing_hard_limit_reached", "invalid_api_key", "API_KEY_INVALID",
                              "model_not_found", "INPUT_MODEL_NOT_FOUND", "AUTHZ_INSUFFICIENT_BALANCE",
                              "DeploymentNotFound", "unsupported_country_region_territory"}) ||
         IsAnyOf(error.type, {"insufficient_quota", "authentication_error"}) ||
         IsAnyOf(error.param, {"model", "dimensions", "encoding_format"}) ||
         absl::StrContains(error.message, "API key not valid") ||
         absl::StrContains(error.message, "does not support specifying dimensions");
}

ReplyClass SplitOrReject(int texts) { return texts > 1 ? ReplyClass::kSplit : ReplyClass::kRejectText; }

// The HTTP status that a gateway packed into a 200: in `code`, if it is one; otherwise as good as a 500.
int StatusInside(const ApiError& error) {
  int status = 0;
  return absl::SimpleAtoi(error.code, &status) && status >= 400 && status <= 599 ? status : 500;
}

// A positive number of `unit`s. absl::Seconds(double) of a huge number is infinite, which the cap takes care of.
std::optional<absl::Duration> ParseNumber(absl::string_view text, absl::Duration unit) {
  double number = 0;
  if (!absl::SimpleAtod(absl::StripAsciiWhitespace(text), &number) || !(number > 0)) return std::nullopt;
  return number * unit;
}

std::optional<absl::Duration> ParseRetryAfter(absl::string_view text, absl::Time wall_clock) {
  text = absl::StripAsciiWhitespace(text);
  constexpr absl::Duration kUnixTime = absl::Seconds(1'000'000'000);  // a larger number of seconds is a moment
  if (const auto seconds = ParseNumber(text, absl::Seconds(1))) {
    return *seconds > kUnixTime ? absl::UnixEpoch() + *seconds - wall_clock : *seconds;
  }
  if (const auto duration = ParseGoDuration(text)) return duration;
  absl::Time date;
  std::string error;
  if (absl::ParseTime("%a, %d %b %Y %H:%M:%S GMT", text, &date, &error)) return date - wall_clock;
  return std::nullopt;
}

std::optional<absl::Duration> WaitInMessage(absl::string_view message) {
  const std::string lower_text = absl::AsciiStrToLower(message);
  const absl::string_view lower = lower_text;
  for (const absl::string_view phrase : {"try again in ", "retry after "}) {
    const size_t found = lower.find(phrase);
    if (found == absl::string_view::npos) continue;
    absl::string_view rest = lower.substr(found + phrase.size());
    rest = rest.substr(0, rest.find_first_of(" ,;"));
    while (absl::ConsumeSuffix(&rest, ".")) {
    }
    if (const auto duration = ParseGoDuration(rest)) return duration;
    if (const auto seconds = ParseNumber(rest, absl::Seconds(1))) return seconds;
  }
  return std::nullopt;
}

}  // namespace

ReplyClass ClassifyReply(int http_status, const ApiError& error, int texts) {
  if (http_status == 200) return error.empty() ? ReplyClass::kOk : ClassifyReply(StatusInside(error), error, texts);
  if (StopsTheRun(error)) return ReplyClass::kStop;
  switch (http_status) {
    case 413:
    case 400:
    case 422:
      return SplitOrReject(texts);
    case 429:
      // Such a request is above the limit of a whole minute: it would wait for ever.
      return absl::StartsWith(error.message, "Request too large") ? SplitOrReject(texts) : ReplyClass::kRetryWait;
    case 503:
    case 529:
      return ReplyClass::kRetryWait;
    case 408:
    case 409:
    case 425:
      return ReplyClass::kRetry;
    default:
      break;
  }
  // llama.cpp answers a text that is too long with 500.
  if (absl::StrContains(error.message, "too large to process")) return SplitOrReject(texts);
  const bool may_pass = http_status >= 500 || http_status < 300;
  return may_pass ? ReplyClass::kRetry : ReplyClass::kStop;
}

absl::Duration Backoff(const RetryPolicy& policy, int attempts, std::mt19937_64* random) {
  const int doublings = std::clamp(attempts - 1, 0, kMaxDoublings);
  const absl::Duration longest = std::min(policy.max_wait, policy.first_backoff * std::ldexp(1.0, doublings));
  return longest * std::uniform_real_distribution<double>(0, 1)(*random);
}

std::optional<absl::Duration> NamedWait(const WaitHints& hints, absl::Time wall_clock) {
  for (const auto& wait : {ParseNumber(hints.retry_after_ms, absl::Milliseconds(1)),
                           ParseRetryAfter(hints.retry_after, wall_clock), WaitInMessage(hints.message)}) {
    if (wait.has_value() && *wait > absl::ZeroDuration()) return wait;
  }
  return std::nullopt;
}

RetryWait WaitBeforeRetry(const RetryPolicy& policy, int attempts, const WaitHints& hints, absl::Time wall_clock,
                          std::mt19937_64* random) {
  const std::optional<absl::Duration> named = NamedWait(hints, wall_clock);
  if (!named.has_value()) return {.wait = Backoff(policy, attempts, random), .named = absl::ZeroDuration()};
  const absl::Duration wait = std::min(*named, policy.max_wait);
  const absl::Duration spread = std::min(wait / 4, absl::Seconds(1));
  return {.wait = wait + spread * std::uniform_real_distribution<double>(0, 1)(*random), .named = *named};
}

std::optional<absl::Duration> ParseGoDuration(absl::string_view text) {
  if (text.empty() || !absl::ascii_isdigit(text.front()) || absl::ascii_isdigit(text.back())) return std::nullopt;
  absl::Duration duration;
  if (!absl::ParseDuration(absl::StrReplaceAll(text, {{"µ", "u"}, {"μ", "u"}}), &duration)) return std::nullopt;
  return duration;
}

}  // namespace reembed
