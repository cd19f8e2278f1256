// SPDX-License-Identifier: Apache-2.0
#include "tools/settings_file.h"

#include <toml++/toml.h>

#include <optional>
#include <sstream>
#include <type_traits>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/location.h"
#include "engine/status_macros.h"
#include "tools/api_key.h"
#include "tools/secret_form.h"

namespace reembed {
namespace {

constexpr int64_t kJobFileFormat = 1;

constexpr char kWhereSecretsStand[] =
    "this file must not contain a secret; name the variable that holds it (api-key-env, db-password-env, header-env), "
    "or the file (api-key-file)";

absl::StatusOr<toml::table> ParseFile(const std::string& file) {
  try {
    return toml::parse_file(file);
  } catch (const toml::parse_error& error) {
    const int line = static_cast<int>(error.source().begin.line);
    if (line == 0) return absl::NotFoundError(absl::StrCat(file, ": cannot be read"));
    return absl::InvalidArgumentError(absl::StrCat(file, ": line ", line, ": ", std::string(error.description())));
  }
}

// Whether the value fits. A file says a number as a number, but for money, which may be one or, to add some, a text.
bool Take(const OptionEntry& entry, const toml::node& node, CommandOptions* options) {
  return std::visit(
      [&](auto member) {
        auto& value = options->*member;
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          const toml::array* const list = node.as_array();
          if (list == nullptr) return false;
          for (const auto& item : *list) {
            if (!item.is_string()) return false;
            value.push_back(*item.value<std::string>());
          }
          return true;
        } else {
          std::optional<T> read = node.value<T>();
          if constexpr (std::is_same_v<T, std::string>) {
            if (const auto number = node.value<double>(); !read.has_value() && number.has_value()) {
              read = absl::StrCat(*number);
            }
          }
          if (read.has_value()) value = *read;
          return read.has_value();
        }
      },
      entry.member);
}

bool IsKeyFile(const OptionEntry& entry) { return entry.name == absl::string_view("api-key-file"); }

bool NamesSecret(absl::string_view name) {
  for (const char* const word : {"key", "token", "password", "secret"}) {
    if (absl::EndsWith(name, word)) return true;
  }
  return false;
}

// What stands where a name is expected, or a header's value.
bool HoldsSecret(const OptionEntry& entry, absl::string_view value) {
  const absl::string_view name = entry.name;
  if (name == "header") {
    const size_t colon = value.find(':');
    return IsCredentialHeader(value.substr(0, colon)) ||
           (colon != absl::string_view::npos && LooksLikeSecret(value.substr(colon + 1)));
  }
  for (const char* const names_it : {"api-key-env", "api-key-file", "db-token-env", "db-password-env", "header-env"}) {
    if (name == names_it) return LooksLikeSecret(value);
  }
  return name == "api-base" && !SecretParameter(value).empty();
}

absl::Status UnknownName(absl::string_view name, const SettingsRules& rules) {
  const std::string dashed = absl::StrReplaceAll(name, {{"_", "-"}});
  if (const OptionEntry* const known = FindOption(dashed); known != nullptr && dashed == name) {
    return absl::InvalidArgumentError(absl::StrCat("unknown name `", name, "`", rules.advice(*known)));
  }
  std::vector<std::string> names = {"format"};
  for (const OptionEntry& entry : OptionEntries()) {
    if (rules.takes(entry)) names.push_back(entry.name);
  }
  if (rules.refuses_secrets && NamesSecret(dashed)) {
    return absl::InvalidArgumentError(absl::StrCat("unknown name `", name, "`; ", kWhereSecretsStand));
  }
  const std::string near = absl::c_linear_search(names, dashed) ? dashed : NearestName(std::string(name), names);
  return absl::InvalidArgumentError(absl::StrCat("unknown name `", name, "`",
                                                 near.empty()
                                                     ? absl::StrCat("; known are: ", absl::StrJoin(names, ", "))
                                                     : absl::StrCat("; did you mean `", near, "`?")));
}

absl::Status TakeNamed(const OptionEntry& entry, const toml::node& node, const SettingsRules& rules,
                       CommandOptions* options) {
  if (!Take(entry, node, options)) {
    return absl::InvalidArgumentError(absl::StrCat("`", entry.name, "` has a value of another kind"));
  }
  for (const std::string& value : OptionValues(entry, *options)) {
    if (IsKeyFile(entry) && value == kStandardInput) {
      return absl::InvalidArgumentError(
          "`api-key-file` is `-`, standard input, which a command has and no file: say --api-key-file - behind it");
    }
    if (rules.refuses_secrets && HoldsSecret(entry, value)) {
      return absl::InvalidArgumentError(absl::StrCat("`", entry.name, "` holds a secret; ", kWhereSecretsStand));
    }
    if (absl::Status word = CheckOptionWord(entry, value); !word.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("`", entry.name, "`: ", word.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SettingsFile> ReadSettingsFile(const std::string& path, const SettingsRules& rules) {
  ABSL_ASSIGN_OR_RETURN(const toml::table table, ParseFile(path));
  SettingsFile file{.path = path};
  if (const int64_t format = table["format"].value<int64_t>().value_or(kJobFileFormat); format > kJobFileFormat) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": has format ", format, ", and this program knows ",
                                                      kJobFileFormat, "; a newer version of reembed reads it"));
  }
  file.has_streams = rules.may_have_streams && (table["stream"].is_array_of_tables() || table["source"].is_table());
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (name == "format" || absl::c_linear_search(rules.tables, name)) continue;
    if (file.has_streams && (node.is_table() || node.is_array_of_tables())) continue;
    const OptionEntry* const entry = FindOption(name);
    const int line = static_cast<int>(node.source().begin.line);
    const absl::Status taken = entry == nullptr || !rules.takes(*entry) ? UnknownName(name, rules)
                                                                        : TakeNamed(*entry, node, rules, &file.values);
    if (!taken.ok()) return absl::Status(taken.code(), absl::StrCat(path, ": line ", line, ": ", taken.message()));
    file.lines.emplace(name, line);
  }
  return file;
}

absl::Status ReadJobFile(CommandOptions* options) {
  if (options->job_file.empty()) return absl::OkStatus();
  const SettingsRules rules{
      .takes = [](const OptionEntry& entry) { return entry.scope == OptionScope::kJob; },
      .advice =
          [](const OptionEntry& entry) {
            return absl::StrCat("; a job file says what a job is, and this belongs to the command: --", entry.name);
          },
      .may_have_streams = true};
  ABSL_ASSIGN_OR_RETURN(const SettingsFile file, ReadSettingsFile(options->job_file, rules));
  if (file.has_streams) {
    if (options->source.empty() && options->system.empty()) options->system = file.path;
    if (options->system != file.path) {
      return absl::InvalidArgumentError(
          absl::StrCat(file.path, ": has streams of its own, so it goes with neither --system nor --source"));
    }
  }
  for (const auto& [name, line] : file.lines) {
    const OptionEntry& entry = *FindOption(name);
    if (IsUnset(entry, *options)) CopyOption(entry, file.values, options);
  }
  return absl::OkStatus();
}

std::string WriteSettings(const CommandOptions& options, absl::string_view head,
                          const std::function<bool(const OptionEntry&)>& wanted) {
  toml::table table;
  table.insert("format", kJobFileFormat);
  for (const OptionEntry& entry : OptionEntries()) {
    if (!wanted(entry) || IsUnset(entry, options)) continue;
    // A later command has another standard input.
    if (OptionValues(entry, options) == std::vector<std::string>{kStandardInput} && IsKeyFile(entry)) continue;
    std::visit(
        [&](auto member) {
          const auto& value = options.*member;
          using T = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            toml::array list;
            for (const std::string& item : value) list.push_back(item);
            table.insert(entry.name, std::move(list));
          } else if constexpr (std::is_same_v<T, int>) {
            table.insert(entry.name, int64_t{value});
          } else {
            table.insert(entry.name, value);
          }
        },
        entry.member);
  }
  std::ostringstream out;
  out << "# " << head << "\n" << table << "\n";
  return out.str();
}

std::string WriteJobFile(const CommandOptions& options) {
  return WriteSettings(options,
                       "What this job was asked to do; run it again with: reembed run THIS_FILE --job THIS_FOLDER",
                       [](const OptionEntry& entry) { return entry.scope == OptionScope::kJob; });
}

}  // namespace reembed
