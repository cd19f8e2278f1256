// SPDX-License-Identifier: Apache-2.0
#include "tools/toml_values.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/location.h"

namespace reembed {

absl::StatusOr<std::string> ReadTomlFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::StatusOr<toml::table> ParseToml(absl::string_view text, const std::string& file) {
  try {
    return toml::parse(std::string_view(text.data(), text.size()), file);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": line ", error.source().begin.line, ": ", std::string(error.description())));
  }
}

absl::Status CheckTomlNames(const toml::table& table, const std::vector<std::string>& known, const std::string& file) {
  for (const auto& [name, value] : table) {
    const std::string text(name.str());
    if (std::find(known.begin(), known.end(), text) != known.end()) {
      const int64_t count = value.value<int64_t>().value_or(0);
      if (count >= 0 && count <= std::numeric_limits<int>::max()) continue;
      return absl::InvalidArgumentError(absl::StrCat(file, ": line ", value.source().begin.line, ": `", text,
                                                     "`: expected a number from 0 to ", std::numeric_limits<int>::max(),
                                                     ", got ", count));
    }
    const std::string near = NearestName(text, known);
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": line ", value.source().begin.line, ": unknown name `", text, "`",
                     near.empty() ? absl::StrCat("; known are: ", absl::StrJoin(known, ", "))
                                  : absl::StrCat("; did you mean `", near, "`?")));
  }
  return absl::OkStatus();
}

std::string TomlText(const toml::table& table, std::string_view name) {
  return table[name].value<std::string>().value_or("");
}

std::vector<std::string> TomlTexts(const toml::table& table, std::string_view name) {
  std::vector<std::string> texts;
  const toml::array* const list = table[name].as_array();
  if (list == nullptr) return texts;
  for (const auto& item : *list) texts.push_back(item.value<std::string>().value_or(""));
  return texts;
}

std::vector<std::string> TomlTextOrTexts(const toml::table& table, std::string_view name) {
  const std::string one = TomlText(table, name);
  return one.empty() ? TomlTexts(table, name) : std::vector<std::string>{one};
}

std::map<std::string, std::string> TomlNamedTexts(const toml::table& table, std::string_view name) {
  std::map<std::string, std::string> texts;
  const toml::table* const named = table[name].as_table();
  if (named == nullptr) return texts;
  for (const auto& [key, value] : *named) texts[std::string(key.str())] = value.value<std::string>().value_or("");
  return texts;
}

}  // namespace reembed
