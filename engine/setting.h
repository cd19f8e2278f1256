// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SETTING_H_
#define REEMBED_ENGINE_SETTING_H_

#include <optional>

#include "absl/status/status.h"

// An error message says what to do. If a setting must be changed for that, the error also carries the setting, so that
// a program can add its name for the user: a flag, an argument.
namespace reembed {

enum class Setting {
  kApiBase,
  kApiKey,
  kBodyField,
  kCaFile,
  kCondition,  // which rows are selected
  kDatabase,
  kDatabasePassword,
  kDatabaseToken,
  kDimensions,
  kInputType,
  kJob,  // the job's directory
  kLongText,
  kMaxSpend,
  kMaxTokens,
  kModel,
  kSkipUnusable,  // leave out rows whose vector is unusable
  kTruncate,
  kUndoLog,  // whether there is one
};
inline constexpr int kSettings = static_cast<int>(Setting::kUndoLog) + 1;

// Ends of reject reasons. The ledger stores reasons as text, without a payload; SettingOf() recognises these ends.
inline constexpr char kLongTextAdvice[] = "it has a vector if long texts are truncated or split";
inline constexpr char kTruncateAdvice[] = "it may cut them if truncation is allowed";

// Adds the setting to the error as a payload, unless it has one already. An OK status stays OK.
absl::Status WithSetting(absl::Status status, Setting setting);

// The setting of an error; nullopt: none. Works for copies with another message, too, if they keep the payloads.
std::optional<Setting> SettingOf(const absl::Status& status);

}  // namespace reembed

#endif  // REEMBED_ENGINE_SETTING_H_
