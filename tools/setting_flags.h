// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SETTING_FLAGS_H_
#define REEMBED_TOOLS_SETTING_FLAGS_H_

#include <string>

#include "absl/status/status.h"
#include "engine/setting.h"

namespace reembed {

// The flags of this command that change a setting, for people: "--api-key-env or --api-key-file".
std::string FlagsOf(Setting setting);

// The words of an error for people who call this command: behind them the flag of its setting, if it has one.
std::string MessageWithFlag(const absl::Status& status);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SETTING_FLAGS_H_
