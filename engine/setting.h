// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SETTING_H_
#define REEMBED_ENGINE_SETTING_H_

#include <optional>

#include "absl/status/status.h"

// An error says in words what to do. Where that is to set something otherwise, it also carries which setting, so that a
// program can add what its users call it: a flag, an argument.
namespace reembed {

enum class Setting {
  kApiBase,
  kApiKey,
  kBodyField,
  kCaFile,
  kCondition,  // which rows are meant
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
  kSkipUnusable,  // leave out rows whose vector is of no use
  kTruncate,
  kUndoLog,  // whether there is one
};
inline constexpr int kSettings = static_cast<int>(Setting::kUndoLog) + 1;

// How the reasons of rejects end. They are stored in the ledger as words, without a payload; these tell the setting.
inline constexpr char kLongTextAdvice[] = "it has a vector if long texts are truncated or split";
inline constexpr char kTruncateAdvice[] = "it may cut them if truncation is allowed";

// The error with the setting as a payload; one that it has stays. An OK status stays OK.
absl::Status WithSetting(absl::Status status, Setting setting);

// The setting of an error; nullopt: none. Also of a copy that was given other words, as long as it keeps the payloads.
std::optional<Setting> SettingOf(const absl::Status& status);

}  // namespace reembed

#endif  // REEMBED_ENGINE_SETTING_H_
