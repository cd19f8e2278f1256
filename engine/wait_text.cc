// SPDX-License-Identifier: Apache-2.0
#include "engine/wait_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "engine/date_text.h"

namespace reembed {
namespace {

constexpr size_t kLongestText = 4096;
constexpr size_t kMaxListItems = 16;

constexpr double kFirstMoment = 1e9;         // a larger number of seconds is a moment, in 2001 or later
constexpr double kLastMomentSeconds = 1e11;  // a larger one counts something shorter than seconds

using absl::string_view;

std::string LowerText(string_view text) {
  std::string lower = absl::AsciiStrToLower(text.substr(0, kLongestText));
  return absl::StrReplaceAll(lower, {{"µ", "u"}, {"μ", "u"}, {"\u00a0", " "}});
}

string_view TakeWhile(string_view* text, bool (*wanted)(unsigned char)) {
  size_t length = 0;
  while (length < text->size() && wanted((*text)[length])) ++length;
  const string_view taken = text->substr(0, length);
  text->remove_prefix(length);
  return taken;
}

bool IsOneOf(string_view word, absl::Span<const string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// ---- Durations ----

struct Unit {
  absl::Duration length;
  std::array<string_view, 7> words;
};

std::optional<absl::Duration> UnitOf(string_view word) {
  static const auto* const units = new std::vector<Unit>{
      {absl::Nanoseconds(1), {"ns", "nanosecond", "nanoseconds"}},
      {absl::Microseconds(1), {"us", "microsecond", "microseconds"}},
      {absl::Milliseconds(1), {"ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"}},
      {absl::Seconds(1), {"s", "sec", "secs", "second", "seconds"}},
      {absl::Minutes(1), {"m", "min", "mins", "minute", "minutes"}},
      {absl::Hours(1), {"h", "hr", "hrs", "hour", "hours"}},
      {absl::Hours(24), {"d", "day", "days"}},
      {absl::Hours(24 * 7), {"w", "week", "weeks"}},
  };
  for (const Unit& unit : *units) {
    if (!word.empty() && IsOneOf(word, unit.words)) return unit.length;
  }
  return std::nullopt;
}

// Digits, with a decimal point where digits follow it.
bool TakeNumber(string_view* text, double* number) {
  string_view rest = *text;
  size_t length = TakeWhile(&rest, absl::ascii_isdigit).size();
  if (length == 0) return false;
  if (rest.size() > 1 && rest[0] == '.' && absl::ascii_isdigit(rest[1])) {
    rest.remove_prefix(1);
    length += 1 + TakeWhile(&rest, absl::ascii_isdigit).size();
  }
  if (!absl::SimpleAtod(text->substr(0, length), number)) return false;
  *text = rest;
  return true;
}

// "5 minutes", "5-minutes", "1.5s", "a minute". Takes nothing if it is not that.
std::optional<absl::Duration> TakeAmount(string_view* text) {
  string_view rest = absl::StripLeadingAsciiWhitespace(*text);
  double number = 1;
  if (!TakeNumber(&rest, &number)) {
    const string_view word = TakeWhile(&rest, absl::ascii_isalpha);
    if (!IsOneOf(word, {"a", "an", "one"})) return std::nullopt;
    if (rest.empty() || rest[0] != ' ') return std::nullopt;
  }
  rest = absl::StripLeadingAsciiWhitespace(rest);
  if (rest.size() > 1 && rest[0] == '-' && absl::ascii_isalpha(rest[1])) rest.remove_prefix(1);
  const std::optional<absl::Duration> unit = UnitOf(TakeWhile(&rest, absl::ascii_isalpha));
  if (!unit.has_value()) return std::nullopt;
  *text = rest;
  return number * *unit;
}

// One amount or several: "1m30s", "1 hour and 30 minutes", "1 h, 30 min".
std::optional<absl::Duration> TakeAmounts(string_view* text) {
  std::optional<absl::Duration> total = TakeAmount(text);
  while (total.has_value()) {
    string_view rest = absl::StripLeadingAsciiWhitespace(*text);
    absl::ConsumePrefix(&rest, ",");
    rest = absl::StripLeadingAsciiWhitespace(rest);
    if (!absl::ConsumePrefix(&rest, "and ")) absl::ConsumePrefix(&rest, "& ");
    const std::optional<absl::Duration> next = TakeAmount(&rest);
    if (!next.has_value()) break;
    *total += *next;
    *text = rest;
  }
  return total;
}

// ISO 8601: "pt1m30s", "p1dt2h".
std::optional<absl::Duration> ParseIsoDuration(string_view text) {
  if (!absl::ConsumePrefix(&text, "p") || text.empty()) return std::nullopt;
  absl::Duration total;
  bool time = false;
  while (!text.empty()) {
    if (!time && absl::ConsumePrefix(&text, "t")) {
      time = true;
      continue;
    }
    double number = 0;
    if (!TakeNumber(&text, &number) || text.empty()) return std::nullopt;
    const std::optional<absl::Duration> unit = UnitOf(text.substr(0, 1));
    // Without a `t` an m is a month, of which nobody knows the length.
    if (!unit.has_value() || time != (*unit <= absl::Hours(1))) return std::nullopt;
    text.remove_prefix(1);
    total += number * *unit;
  }
  return total;
}

// "00:02:00", "1:30:00.5", "02:00" (minutes and seconds).
std::optional<absl::Duration> ParseClock(string_view text) {
  const std::vector<string_view> parts = absl::StrSplit(text, ':');
  if (parts.size() != 2 && parts.size() != 3) return std::nullopt;
  absl::Duration total;
  for (string_view part : parts) {
    double number = 0;
    if (!TakeNumber(&part, &number) || !part.empty()) return std::nullopt;
    total = 60 * total + absl::Seconds(number);
  }
  return total;
}

// ---- Whole fields ----

std::optional<absl::Duration> AboveZero(std::optional<absl::Duration> wait) {
  return wait.has_value() && *wait > absl::ZeroDuration() ? wait : std::nullopt;
}

std::optional<absl::Duration> ParseNumber(string_view text, absl::Duration unit, absl::Time clock) {
  double number = 0;
  if (!absl::SimpleAtod(text, &number) || !(number > 0)) return std::nullopt;
  double seconds = number * absl::ToDoubleSeconds(unit);
  if (seconds <= kFirstMoment) return absl::Seconds(seconds);
  for (int i = 0; i < 3 && seconds > kLastMomentSeconds; ++i) seconds /= 1000;
  if (seconds > kLastMomentSeconds) return absl::InfiniteDuration();
  return absl::UnixEpoch() + absl::Seconds(seconds) - clock;
}

// No list, in lower case.
std::optional<absl::Duration> ParseOne(string_view text, absl::Duration unit, absl::Time clock) {
  text = absl::StripAsciiWhitespace(text);
  if (text.empty()) return std::nullopt;
  if (const auto wait = ParseNumber(text, unit, clock)) return wait;
  if (const auto date = DateOf(text, clock)) return *date - clock;
  if (const auto wait = ParseIsoDuration(text)) return wait;
  if (const auto wait = ParseClock(text)) return wait;
  for (const string_view word : {"in ", "after ", "about ", "approximately ", "~"}) absl::ConsumePrefix(&text, word);
  const std::optional<absl::Duration> wait = TakeAmounts(&text);
  return absl::StripAsciiWhitespace(text).find_first_not_of('.') == string_view::npos ? wait : std::nullopt;
}

// ---- Sentences ----

constexpr string_view kWaitPhrases[] = {"try again", "retry",   "retry-after", "retry_after", "retryafter",
                                        "wait",      "resets",  "reset",       "available",   "back off",
                                        "backoff",   "refills", "renews"};

// Words between such a phrase and the wait itself.
constexpr string_view kFillers[] = {
    "in",    "after", "for",   "at",      "about",    "approximately", "around",  "within", "another",
    "least", "your",  "the",   "request", "requests", "this",          "until",   "up",     "to",
    "it",    "limit", "again", "please",  "be",       "available",     "roughly", "on",     "~"};
constexpr size_t kMostFillers = 6;

// After these a number without a unit is one of seconds, unless it counts something else.
constexpr string_view kBeforeSeconds[] = {"in", "after", "for"};
constexpr string_view kCounted[] = {"times", "time",    "attempts", "attempt", "requests", "request", "tokens",
                                    "tries", "retries", "more",     "per",     "of",       "percent", "other"};

// The next word, without taking it: up to a blank, a quote, or a colon or equals sign that ends it.
string_view NextWord(string_view text) {
  const size_t end = text.find_first_of(" \t\":=(");
  return text.substr(0, end);
}

std::optional<absl::Duration> WaitHere(string_view rest, bool seconds_may_follow, absl::Time clock) {
  // Dates first: they begin with numbers. The longest run of words that is one.
  std::vector<size_t> ends;
  for (size_t i = 0; i <= rest.size() && ends.size() < kMaxDateWords; ++i) {
    if (i == rest.size() || rest[i] == ' ') ends.push_back(i);
  }
  for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
    const size_t last = rest.substr(0, *end).find_last_not_of(".,;)\"' ");
    if (last == string_view::npos) break;
    if (const auto date = DateOf(rest.substr(0, last + 1), clock)) return AboveZero(*date - clock);
  }
  const string_view word = rest.substr(0, std::min(rest.find_first_not_of("0123456789:."), rest.size()));
  if (absl::StrContains(word, ':')) {
    const size_t last = word.find_last_not_of(".:");
    if (const auto clock_form = ParseClock(word.substr(0, last + 1))) return AboveZero(clock_form);
  }
  string_view amounts = rest;
  if (const auto wait = TakeAmounts(&amounts)) return AboveZero(wait);
  double number = 0;
  if (!seconds_may_follow || !TakeNumber(&rest, &number)) return std::nullopt;
  if (!rest.empty() && (absl::ascii_isalnum(rest[0]) || rest[0] == '%' || rest[0] == '-' || rest[0] == ':')) {
    return std::nullopt;
  }
  rest = absl::StripLeadingAsciiWhitespace(rest);
  if (IsOneOf(TakeWhile(&rest, absl::ascii_isalpha), kCounted)) return std::nullopt;
  return AboveZero(ParseNumber(absl::StrCat(number), absl::Seconds(1), clock));
}

std::optional<absl::Duration> WaitAfterPhrase(string_view rest, absl::Time clock) {
  bool seconds_may_follow = false;
  for (size_t fillers = 0; fillers <= kMostFillers; ++fillers) {
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t\"'`"), rest.size()));
    if (absl::ConsumePrefix(&rest, ":") || absl::ConsumePrefix(&rest, "=")) {
      seconds_may_follow = true;
      continue;
    }
    if (const auto wait = WaitHere(rest, seconds_may_follow, clock)) return wait;
    const string_view word = NextWord(rest);
    if (word.empty() || !IsOneOf(word, kFillers)) return std::nullopt;
    seconds_may_follow = IsOneOf(word, kBeforeSeconds);
    rest.remove_prefix(word.size());
  }
  return std::nullopt;
}

}  // namespace

std::optional<absl::Time> ParseDate(absl::string_view text, absl::Time clock) {
  return DateOf(absl::StripAsciiWhitespace(LowerText(text)), clock);
}

std::optional<absl::Duration> ParseWait(absl::string_view text, absl::Duration unit, absl::Time clock) {
  const std::string lower = LowerText(text);
  string_view field = absl::StripAsciiWhitespace(lower);
  field = field.substr(0, field.find_first_of(";("));
  field = absl::StripAsciiWhitespace(field);
  for (const char quote : {'"', '\''}) {
    if (field.size() >= 2 && field.front() == quote && field.back() == quote) field = field.substr(1, field.size() - 2);
  }
  if (const auto wait = ParseOne(field, unit, clock)) return AboveZero(wait);
  std::vector<string_view> items = absl::StrSplit(field, ',');
  if (items.size() < 2 || items.size() > kMaxListItems) return std::nullopt;
  std::optional<absl::Duration> longest;
  for (size_t i = 0; i < items.size(); ++i) {
    std::string item(absl::StripAsciiWhitespace(items[i]));
    // The comma of a date is behind its weekday.
    if (IsWeekday(item) && !absl::StrContains(item, ' ') && i + 1 < items.size()) absl::StrAppend(&item, items[++i]);
    const std::optional<absl::Duration> wait = AboveZero(ParseOne(item, unit, clock));
    if (wait.has_value() && *wait > longest.value_or(absl::ZeroDuration())) longest = wait;
  }
  return longest;
}

std::optional<absl::Duration> WaitInSentence(absl::string_view sentence, absl::Time clock) {
  const std::string lower = LowerText(sentence);
  const string_view text = lower;
  for (size_t at = 0; at < text.size(); ++at) {
    if (at > 0 && absl::ascii_isalnum(text[at - 1])) continue;  // a word begins here
    for (const string_view phrase : kWaitPhrases) {
      if (!absl::StartsWith(text.substr(at), phrase)) continue;
      const string_view rest = text.substr(at + phrase.size());
      if (!rest.empty() && absl::ascii_isalnum(rest[0])) continue;
      if (const auto wait = WaitAfterPhrase(rest, clock)) return wait;
    }
  }
  return std::nullopt;
}

}  // namespace reembed
