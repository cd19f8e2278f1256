// SPDX-License-Identifier: Apache-2.0
#include "engine/pace/wait_hints.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "engine/wait_text.h"

namespace reembed {
namespace {

using absl::string_view;

constexpr double kUnsaid = -1;
constexpr absl::Duration kLongestPace = absl::Minutes(2);

string_view Header(HeaderList headers, string_view name) {
  for (const auto& [header, value] : headers) {
    if (header == name) return value;
  }
  return "";
}

double NumberOr(string_view text, double otherwise) {
  double number = 0;
  return absl::SimpleAtod(text, &number) ? number : otherwise;
}

// One member of a list of structured fields: `"name";q=100;w=60`, `100;w=60`, `limit=100`.
struct ListItem {
  string_view value;
  std::vector<std::pair<string_view, string_view>> parameters;

  string_view Get(string_view name) const {
    for (const auto& [parameter, text] : parameters) {
      if (parameter == name) return text;
    }
    return "";
  }
};

string_view WithoutQuotes(string_view text) {
  text = absl::StripAsciiWhitespace(text);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return text;
}

// Up to `end`, quotes respected; taken from *text with what ends it.
string_view TakeUntil(string_view ends, string_view* text) {
  bool quoted = false;
  size_t i = 0;
  for (; i < text->size() && (quoted || !absl::StrContains(ends, (*text)[i])); ++i) {
    if ((*text)[i] == '"') quoted = !quoted;
  }
  const string_view taken = text->substr(0, i);
  text->remove_prefix(i);
  return taken;
}

std::vector<ListItem> ParseList(string_view text) {
  constexpr size_t kMost = 32;
  std::vector<ListItem> items;
  while (!text.empty() && items.size() < kMost) {
    string_view rest = TakeUntil(",", &text);
    absl::ConsumePrefix(&text, ",");
    ListItem item{.value = WithoutQuotes(TakeUntil(";", &rest))};
    while (absl::ConsumePrefix(&rest, ";")) {
      string_view parameter = TakeUntil(";", &rest);
      const string_view name = absl::StripAsciiWhitespace(TakeUntil("=", &parameter));
      absl::ConsumePrefix(&parameter, "=");
      if (item.parameters.size() < kMost) item.parameters.emplace_back(name, WithoutQuotes(parameter));
    }
    items.push_back(std::move(item));
  }
  return items;
}

// The first value of a list of numbers: "10, 10;w=1, 50;w=60" begins with the limit that counts.
double FirstNumber(string_view list) { return NumberOr(WithoutQuotes(TakeUntil(",;", &list)), kUnsaid); }

// The window of the policy of this name, or of the only one; zero: it is not said.
absl::Duration WindowOf(HeaderList headers, string_view policy) {
  const std::vector<ListItem> policies = ParseList(Header(headers, "ratelimit-policy"));
  for (const ListItem& item : policies) {
    if (item.value != policy && policies.size() > 1) continue;
    const double seconds = NumberOr(item.Get("w"), 0);
    if (seconds > 0) return absl::Seconds(seconds);
  }
  return absl::ZeroDuration();
}

// RateLimit, as `"name";r=0;t=30` for each policy, or as `limit=100, remaining=0, reset=30`. Of several that are used
// up the longest.
std::optional<absl::Duration> WaitInRateLimit(HeaderList headers, absl::Time clock) {
  absl::Duration longest;
  std::optional<absl::Duration> reset;
  double remaining = 0;
  for (const ListItem& item : ParseList(Header(headers, "ratelimit"))) {
    string_view member = item.value;
    if (absl::ConsumePrefix(&member, "remaining=")) remaining = NumberOr(member, 0);
    if (absl::ConsumePrefix(&member, "reset=")) reset = ParseWait(member, absl::Seconds(1), clock);
    if (item.parameters.empty() || NumberOr(item.Get("r"), 0) > 0) continue;
    const std::optional<absl::Duration> wait = ParseWait(item.Get("t"), absl::Seconds(1), clock);
    longest = std::max(longest, wait.value_or(WindowOf(headers, item.value)));
  }
  if (longest > absl::ZeroDuration()) return longest;
  return remaining > 0 ? std::nullopt : reset;
}

std::optional<absl::Duration> WaitInReset(HeaderList headers, absl::Time clock) {
  static constexpr std::pair<string_view, string_view> kResets[] = {
      {"ratelimit-reset", "ratelimit-remaining"},
      {"x-ratelimit-reset", "x-ratelimit-remaining"},
      {"x-ratelimit-reset-after", "x-ratelimit-remaining"},
      {"x-rate-limit-reset", "x-rate-limit-remaining"},
  };
  for (const auto& [reset, remaining] : kResets) {
    if (FirstNumber(Header(headers, remaining)) > 0) continue;
    if (const auto wait = ParseWait(Header(headers, reset), absl::Seconds(1), clock)) return wait;
  }
  return std::nullopt;
}

// Takes a quota of so many in that window for the report, if it is the strictest so far.
void Narrow(double quota, absl::Duration window, double remaining, double* limit, double* left) {
  if (!(quota > 0) || window <= absl::ZeroDuration() || window > kLongestPace) return;
  const double per_minute = quota * absl::FDivDuration(absl::Minutes(1), window);
  if (*limit > 0 && *limit <= per_minute) return;
  *limit = per_minute;
  *left = remaining;
}

// RateLimit-Policy, or RateLimit-Limit with windows, and what remains of it.
void ReadPolicies(HeaderList headers, QuotaReport* report) {
  const std::vector<ListItem> left = ParseList(Header(headers, "ratelimit"));
  const auto remaining_of = [&](const ListItem& policy) {
    for (const ListItem& item : left) {
      string_view member = item.value;
      if (absl::ConsumePrefix(&member, "remaining=")) return NumberOr(member, kUnsaid);
      if (item.value == policy.value) return NumberOr(item.Get("r"), kUnsaid);
    }
    return FirstNumber(Header(headers, "ratelimit-remaining"));
  };
  for (const string_view name : {"ratelimit-policy", "ratelimit-limit"}) {
    for (const ListItem& item : ParseList(Header(headers, name))) {
      const string_view unit = item.Get("qu");
      const bool tokens = absl::StrContains(item.value, "token") || unit == "tokens";
      if (!tokens && !unit.empty() && unit != "requests") continue;
      const double quota = NumberOr(item.Get("q"), NumberOr(item.value, 0));
      const absl::Duration window = absl::Seconds(NumberOr(item.Get("w"), 0));
      if (tokens) {
        Narrow(quota, window, remaining_of(item), &report->limit_tokens, &report->remaining_tokens);
      } else {
        Narrow(quota, window, remaining_of(item), &report->limit_requests, &report->remaining_requests);
      }
    }
  }
}

}  // namespace

std::optional<absl::Duration> NamedWait(const WaitHints& hints, absl::Time wall_clock) {
  const absl::Time clock = ParseDate(Header(hints.headers, "date"), wall_clock).value_or(wall_clock);
  for (const string_view name : {"retry-after-ms", "x-retry-after-ms", "x-ms-retry-after-ms"}) {
    if (const auto wait = ParseWait(Header(hints.headers, name), absl::Milliseconds(1), clock)) return wait;
  }
  for (const string_view name : {"retry-after", "x-retry-after", "x-ratelimit-retry-after"}) {
    if (const auto wait = ParseWait(Header(hints.headers, name), absl::Seconds(1), clock)) return wait;
  }
  if (const auto wait = ParseWait(hints.in_body, absl::Seconds(1), clock)) return wait;
  if (const auto wait = WaitInSentence(hints.message, clock)) return wait;
  if (!hints.over_quota) return std::nullopt;
  if (const auto wait = WaitInRateLimit(hints.headers, clock)) return wait;
  return WaitInReset(hints.headers, clock);
}

QuotaReport QuotaOf(HeaderList headers) {
  QuotaReport report{.limit_requests = NumberOr(Header(headers, "x-ratelimit-limit-requests"), 0),
                     .remaining_requests = NumberOr(Header(headers, "x-ratelimit-remaining-requests"), kUnsaid),
                     .limit_tokens = NumberOr(Header(headers, "x-ratelimit-limit-tokens"), 0),
                     .remaining_tokens = NumberOr(Header(headers, "x-ratelimit-remaining-tokens"), kUnsaid)};
  ReadPolicies(headers, &report);
  return report;
}

}  // namespace reembed
