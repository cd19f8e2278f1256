// SPDX-License-Identifier: Apache-2.0
#include "tools/setting_flags.h"

#include <optional>

#include "absl/strings/str_cat.h"

namespace reembed {

std::string FlagsOf(Setting setting) {
  switch (setting) {
    case Setting::kApiBase:
      return "--api-base";
    case Setting::kApiKey:
      return "--api-key-env or --api-key-file";
    case Setting::kBodyField:
      return "--body-field";
    case Setting::kCaFile:
      return "--ca-file";
    case Setting::kCondition:
      return "--where";
    case Setting::kDatabase:
      return "--db";
    case Setting::kDatabasePassword:
      return "--db-password-env";
    case Setting::kDatabaseToken:
      return "--db-token-env";
    case Setting::kDimensions:
      return "--dimensions";
    case Setting::kInputType:
      return "--input-type";
    case Setting::kJob:
      return "--job";
    case Setting::kLongText:
      return "--long-text truncate or split";
    case Setting::kMaxSpend:
      return "--max-spend; `--max-spend +5` allows 5 dollars more than are spent";
    case Setting::kMaxTokens:
      return "--max-tokens";
    case Setting::kModel:
      return "--model";
    case Setting::kSkipUnusable:
      return "--skip-unusable";
    case Setting::kTruncate:
      return "--truncate";
    case Setting::kUndoLog:
      return "--no-undo";
  }
  return "";
}

std::string MessageWithFlag(const absl::Status& status) {
  const std::optional<Setting> setting = SettingOf(status);
  if (!setting.has_value()) return std::string(status.message());
  return absl::StrCat(status.message(), " (", FlagsOf(*setting), ")");
}

}  // namespace reembed
