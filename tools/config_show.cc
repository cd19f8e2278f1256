// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/number/json_text.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/option_layers.h"
#include "tools/option_table.h"
#include "tools/secret_form.h"

namespace reembed {
namespace {

constexpr char kHidden[] = "(hidden: it looks like a secret)";

// As it may be shown; passwords of URLs go with all that is printed.
std::string Shown(const std::string& value) {
  if (LooksLikeSecret(value)) return kHidden;
  for (const absl::string_view word : absl::StrSplit(value, absl::ByAnyChar(" \t,;='\""), absl::SkipEmpty())) {
    if (LooksLikeSecret(word)) return kHidden;
  }
  return value;
}

// As a file of settings has it.
std::string TomlOf(const OptionEntry& entry, const std::vector<std::string>& values) {
  std::vector<std::string> words;
  const bool is_list = std::holds_alternative<std::vector<std::string> CommandOptions::*>(entry.member);
  const bool is_text = std::holds_alternative<std::string CommandOptions::*>(entry.member);
  words.reserve(values.size());
  for (const std::string& value : values) words.push_back(is_list || is_text ? JsonQuoted(Shown(value)) : value);
  const std::string joined = absl::StrJoin(words, ", ");
  return is_list ? absl::StrCat("[", joined, "]") : joined;
}

std::string OriginText(const OptionOrigin& origin) {
  const bool alone = origin.place.empty() || origin.layer == OptionLayer::kDefault;
  return alone ? NameOfLayer(origin.layer) : absl::StrCat(NameOfLayer(origin.layer), ", ", origin.place);
}

void PrintJson(const OptionEntry& entry, const std::vector<std::string>& values, const OptionOrigin& origin) {
  JsonLine line("setting");
  line.Add("name", entry.name);
  const bool is_list = std::holds_alternative<std::vector<std::string> CommandOptions::*>(entry.member);
  std::vector<std::string> quoted;
  quoted.reserve(values.size());
  for (const std::string& value : values) quoted.push_back(JsonQuoted(Shown(value)));
  line.AddRaw("value", is_list          ? absl::StrCat("[", absl::StrJoin(quoted, ","), "]")
                       : values.empty() ? "null"
                                        : quoted.front());
  std::cout << line.Add("origin", NameOfLayer(origin.layer)).Add("place", origin.place).ToString() << "\n";
}

}  // namespace

ExitCode ConfigShowCommand(const LayeredOptions& all, bool with_origin) {
  std::vector<std::string> unsaid;
  for (const OptionEntry& entry : OptionEntries()) {
    const auto found = all.origins.find(entry.name);
    const OptionOrigin origin = found == all.origins.end() ? OptionOrigin() : found->second;
    const std::vector<std::string> values = OptionValues(entry, all.options);
    // A plan and a word of a user may also say that something is as by default.
    if (all.options.json) {
      PrintJson(entry, values, origin);
    } else if (values.empty()) {
      unsaid.push_back(found == all.origins.end() || !with_origin
                           ? entry.name
                           : absl::StrCat(entry.name, " (", OriginText(origin), ")"));
    } else {
      std::cout << entry.name << " = " << TomlOf(entry, values)
                << (with_origin ? absl::StrCat("  # ", OriginText(origin)) : "") << "\n";
    }
  }
  if (!all.options.json) std::cout << "# by default: " << absl::StrJoin(unsaid, ", ") << "\n";
  std::cout << std::flush;
  return kExitDone;
}

}  // namespace reembed
