// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SETTINGS_FILE_H_
#define REEMBED_TOOLS_SETTINGS_FILE_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/option_table.h"
#include "tools/options.h"

namespace reembed {

// Options as a TOML file has them.
struct SettingsFile {
  std::string path;
  CommandOptions values;
  std::map<std::string, int, std::less<>> lines;  // of the options that it says, by their names
  bool has_streams = false;                       // it also has the sections of a preset
};

// Which names a kind of file may have, and what is said of the others.
struct SettingsRules {
  std::function<bool(const OptionEntry&)> takes;
  // Behind "unknown name `yes`" of an option that it does not take: why, and where it is said instead.
  std::function<std::string(const OptionEntry&)> advice;
  bool may_have_streams = false;
  std::vector<std::string> tables = {};  // names of tables that others read
  bool refuses_secrets = false;          // values that are secrets where their names or files are meant
};

// Errors: kNotFound; kInvalidArgument (names file and line: no TOML, an unknown name and the nearest known one, a value
// of another kind, a secret, which is not shown); kFailedPrecondition (a newer format).
absl::StatusOr<SettingsFile> ReadSettingsFile(const std::string& path, const SettingsRules& rules);

// The options that are said and `wanted`, as such a file, with `head` as its first line and a format number.
std::string WriteSettings(const CommandOptions& options, absl::string_view head,
                          const std::function<bool(const OptionEntry&)>& wanted);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SETTINGS_FILE_H_
