// SPDX-License-Identifier: Apache-2.0
#include "tools/format.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/number/json_text.h"
#include "engine/number/json_writer.h"
#include "engine/pace/spend_cap.h"

namespace reembed {

std::string BytesText(int64_t bytes) {
  const char* const units[] = {"bytes", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, " bytes") : absl::StrFormat("%.*f %s", value < 10 ? 1 : 0, value, units[unit]);
}

std::string DurationText(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 10) return absl::StrFormat("%.1f s", seconds);
  if (seconds < 60) return absl::StrFormat("%.0f s", seconds);
  const auto whole = static_cast<int64_t>(std::min(seconds, 1e15));
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%s:%02d:%02d", WithCommas(whole / 3600), whole / 60 % 60, whole % 60);
}

std::string MoneyText(double usd) { return DollarsText(usd); }

JsonLine::JsonLine(absl::string_view message_type) : text_("{\"message_type\":") {
  AppendJsonString(message_type, &text_);
}

JsonLine& JsonLine::AddRaw(absl::string_view name, absl::string_view json) {
  AppendJsonMember(name, json, &text_);
  return *this;
}

JsonLine& JsonLine::Add(absl::string_view name, absl::string_view text) { return AddRaw(name, JsonQuoted(text)); }

JsonLine& JsonLine::Add(absl::string_view name, int64_t number) { return AddRaw(name, absl::StrCat(number)); }

JsonLine& JsonLine::Add(absl::string_view name, double number) { return AddRaw(name, JsonNumber(number)); }

}  // namespace reembed
