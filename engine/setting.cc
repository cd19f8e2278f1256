// SPDX-License-Identifier: Apache-2.0
#include "engine/setting.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr char kPayload[] = "reembed/setting";

}  // namespace

absl::Status WithSetting(absl::Status status, Setting setting) {
  if (status.ok() || SettingOf(status).has_value()) return status;
  status.SetPayload(kPayload, absl::Cord(absl::StrCat(static_cast<int>(setting))));
  return status;
}

std::optional<Setting> SettingOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int number = 0;
  if (absl::EndsWith(status.message(), kLongTextAdvice)) return Setting::kLongText;
  if (absl::EndsWith(status.message(), kTruncateAdvice)) return Setting::kTruncate;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &number)) return std::nullopt;
  if (number < 0 || number >= kSettings) return std::nullopt;
  return static_cast<Setting>(number);
}

}  // namespace reembed
