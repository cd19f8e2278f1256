#include "engine/retry.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

constexpr int kMaxDoublings = 4;  // of the first backoff

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

absl::Duration Backoff(const RetryPolicy& policy, int attempts, std::mt19937_64* random) {
  const int doublings = std::clamp(attempts - 1, 0, kMaxDoublings);
  const absl::Duration longest = std::min(policy.max_wait, policy.first_backoff * std::ldexp(1.0, doublings));
  return longest * std::uniform_real_distribution<double>(0, 1)(*random);
}

std::optional<absl::Duration> NamedWait(const WaitHints& hints, absl::Time wall_clock) {
  for (const auto& wait :
       {ParseNumber(hints.retry_after_ms, absl::Milliseconds(1)), ParseRetryAfter(hints.retry_after, wall_clock),
        ParseRetryAfter(hints.in_body, wall_clock), WaitInMessage(hints.message)}) {
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
