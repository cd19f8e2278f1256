// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TOML_VALUES_H_
#define REEMBED_TOOLS_TOML_VALUES_H_

#include <toml++/toml.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What files of our own in TOML say: presets, and the list of models.
namespace reembed {

// Errors: kNotFound (it cannot be read).
absl::StatusOr<std::string> ReadTomlFile(const std::string& path);

// `file`: for messages. Errors: kInvalidArgument (names the line).
absl::StatusOr<toml::table> ParseToml(absl::string_view text, const std::string& file);

// A typing mistake in a file must not silently fall back to a default, or become another number: all are counts.
// Errors: kInvalidArgument (a name that is not known, with the nearest; a number that is no count; names the line).
absl::Status CheckTomlNames(const toml::table& table, const std::vector<std::string>& known, const std::string& file);

// Empty: there is none, or it is something else.
std::string TomlText(const toml::table& table, std::string_view name);
std::vector<std::string> TomlTexts(const toml::table& table, std::string_view name);
std::vector<std::string> TomlTextOrTexts(const toml::table& table,
                                         std::string_view name);  // one text, or a list of them
std::map<std::string, std::string> TomlNamedTexts(const toml::table& table, std::string_view name);

}  // namespace reembed

#endif  // REEMBED_TOOLS_TOML_VALUES_H_
