// SPDX-License-Identifier: Apache-2.0
#include "engine/date_text.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

using absl::string_view;

constexpr string_view kWeekdays[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

int MonthOf(string_view word) {
  constexpr string_view kMonths = "janfebmaraprmayjunjulaugsepoctnovdec";
  if (word.size() < 3) return 0;
  const size_t at = kMonths.find(word.substr(0, 3));
  return at == string_view::npos || at % 3 != 0 ? 0 : static_cast<int>(at / 3) + 1;
}

// How far the zone is ahead of UTC: "gmt", "z", "pst", "+0200", "+02:00", "gmt+0200".
std::optional<absl::Duration> ParseZone(string_view zone) {
  static constexpr std::pair<string_view, int> kZones[] = {{"est", -5}, {"edt", -4}, {"cst", -6}, {"cdt", -5},
                                                           {"mst", -7}, {"mdt", -6}, {"pst", -8}, {"pdt", -7},
                                                           {"cet", 1},  {"cest", 2}};
  for (const auto& [word, hours] : kZones) {
    if (zone == word) return absl::Hours(hours);
  }
  for (const string_view word : {"gmt", "utc", "ut", "z"}) {
    if (absl::ConsumePrefix(&zone, word)) {
      if (zone.empty()) return absl::ZeroDuration();
      break;
    }
  }
  if (zone.empty() || (zone[0] != '+' && zone[0] != '-')) return std::nullopt;
  const int sign = zone[0] == '-' ? -1 : 1;
  const std::string digits = absl::StrReplaceAll(zone.substr(1), {{":", ""}});
  int number = 0;
  if (!std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) || !absl::SimpleAtoi(digits, &number)) {
    return std::nullopt;
  }
  const bool hours_only = digits.size() <= 2;
  if (digits.size() == 3 || digits.size() > 4) return std::nullopt;
  const int hours = hours_only ? number : number / 100, minutes = hours_only ? 0 : number % 100;
  if (hours > 14 || minutes > 59) return std::nullopt;
  return sign * (absl::Hours(hours) + absl::Minutes(minutes));
}

struct DateParts {
  int year = -1, month = 0, day = 0;
  std::optional<absl::Duration> time_of_day, zone;
};

// A year of four digits or of two, or a day of the month: whichever comes first is the day.
bool SetNumber(string_view word, absl::Time clock, DateParts* date) {
  int number = 0;
  if (word.size() > 4 || !absl::SimpleAtoi(word, &number)) return false;
  if (date->day == 0 && word.size() <= 2) {
    date->day = number;
    return number >= 1 && number <= 31;
  }
  if (date->year >= 0) return false;
  date->year = number;
  if (word.size() == 2) {
    const int now = static_cast<int>(absl::ToCivilYear(clock, absl::UTCTimeZone()).year());
    date->year += now - now % 100;
    if (date->year > now + 50) date->year -= 100;
  }
  return word.size() == 4 || word.size() == 2;
}

bool SetTime(string_view word, DateParts* date) {
  // A zone may stick to it: 07:28:00z, 07:28:00+02:00.
  const size_t end = std::min(word.find_first_not_of("0123456789:."), word.size());
  if (end < word.size()) {
    date->zone = ParseZone(word.substr(end));
    if (!date->zone.has_value()) return false;
  }
  const std::vector<string_view> parts = absl::StrSplit(word.substr(0, end), ':');
  int hour = 0, minute = 0;
  double second = 0;
  if (parts.size() < 2 || parts.size() > 3 || date->time_of_day.has_value()) return false;
  if (!absl::SimpleAtoi(parts[0], &hour) || !absl::SimpleAtoi(parts[1], &minute)) return false;
  if (parts.size() == 3 && !absl::SimpleAtod(parts[2], &second)) return false;
  if (hour > 24 || minute > 59 || !(second < 61)) return false;
  date->time_of_day = absl::Hours(hour) + absl::Minutes(minute) + absl::Seconds(second);
  return true;
}

// 2026-10-21, or 2026-10-21t07:28:00z.
bool SetIsoDate(string_view word, DateParts* date) {
  if (word.size() < 10 || date->year >= 0 || word[4] != '-' || word[7] != '-') return false;
  if (!absl::SimpleAtoi(word.substr(0, 4), &date->year) || !absl::SimpleAtoi(word.substr(5, 2), &date->month) ||
      !absl::SimpleAtoi(word.substr(8, 2), &date->day)) {
    return false;
  }
  word.remove_prefix(10);
  return word.empty() || (word[0] == 't' && SetTime(word.substr(1), date));
}

bool SetWord(string_view word, absl::Time clock, DateParts* date) {
  if (IsWeekday(word)) return true;
  if (const int month = MonthOf(word); month > 0 && date->month == 0) {
    date->month = month;
    return true;
  }
  if (absl::ascii_isdigit(word[0])) {
    if (absl::StrContains(word, '-')) return SetIsoDate(word, date);
    return absl::StrContains(word, ':') ? SetTime(word, date) : SetNumber(word, clock, date);
  }
  if (!date->time_of_day.has_value()) return false;
  // Also as two words: GMT +0200.
  const std::optional<absl::Duration> zone = ParseZone(word);
  if (!zone.has_value()) return false;
  date->zone = date->zone.value_or(absl::ZeroDuration()) + *zone;
  return true;
}

}  // namespace

bool IsWeekday(absl::string_view word) {
  return word.size() >= 3 &&
         std::find(std::begin(kWeekdays), std::end(kWeekdays), word.substr(0, 3)) != std::end(kWeekdays);
}

std::optional<absl::Time> DateOf(absl::string_view text, absl::Time clock) {
  DateParts date;
  size_t words = 0;
  for (string_view word : absl::StrSplit(text, absl::ByAnyChar(" ,\t"), absl::SkipEmpty())) {
    if (++words > kMaxDateWords) return std::nullopt;
    // RFC 850: 06-nov-94.
    const std::vector<string_view> parts = absl::StrSplit(word, '-');
    if (parts.size() == 3 && MonthOf(parts[1]) > 0) {
      for (const string_view part : parts) {
        if (part.empty() || !SetWord(part, clock, &date)) return std::nullopt;
      }
      continue;
    }
    if (!SetWord(word, clock, &date)) return std::nullopt;
  }
  if (date.year < 0 || date.month < 1 || date.month > 12 || date.day < 1 || date.day > 31) return std::nullopt;
  if (!date.time_of_day.has_value()) return std::nullopt;
  return absl::FromCivil(absl::CivilDay(date.year, date.month, date.day), absl::UTCTimeZone()) + *date.time_of_day -
         date.zone.value_or(absl::ZeroDuration());
}

}  // namespace reembed
