// SPDX-License-Identifier: Apache-2.0
#include "tools/environment.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

// Double quotes allow \n, \" and \\; single quotes take everything as it is; without quotes " #" begins a comment.
absl::StatusOr<std::string> ParseValue(absl::string_view raw) {
  raw = absl::StripAsciiWhitespace(raw);
  if (raw.empty()) return std::string();
  const char quote = raw[0];
  if (quote != '"' && quote != '\'') {
    const size_t comment = raw.find(" #");
    return std::string(absl::StripAsciiWhitespace(raw.substr(0, comment)));
  }
  std::string value;
  for (size_t i = 1; i < raw.size(); ++i) {
    if (raw[i] == quote) return value;
    if (quote == '"' && raw[i] == '\\' && i + 1 < raw.size()) {
      ++i;
      value.push_back(raw[i] == 'n' ? '\n' : raw[i]);
    } else {
      value.push_back(raw[i]);
    }
  }
  return absl::InvalidArgumentError("a quote is not closed");
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseEnvText(absl::string_view text) {
  std::map<std::string, std::string> variables;
  int number = 0;
  // What some editors put before UTF-8; it would become a part of the first name.
  absl::ConsumePrefix(&text, "\xef\xbb\xbf");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    absl::ConsumePrefix(&line, "export ");
    const size_t equals = line.find('=');
    const absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, equals));
    if (equals == absl::string_view::npos || name.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": expected NAME=VALUE"));
    }
    const absl::StatusOr<std::string> value = ParseValue(line.substr(equals + 1));
    if (!value.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", value.status().message()));
    }
    variables[std::string(name)] = *value;
  }
  return variables;
}

absl::Status Environment::AddFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::ostringstream text;
  text << file.rdbuf();
  const auto variables = ParseEnvText(text.str());
  if (!variables.ok()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", variables.status().message()));
  for (const auto& [name, value] : *variables) file_.try_emplace(name, FileVariable{value, path});
  return absl::OkStatus();
}

std::string Environment::Get(const std::string& name) const {
  const char* const value = std::getenv(name.c_str());
  if (value != nullptr && *value != '\0') return value;
  const auto found = file_.find(name);
  return found == file_.end() ? "" : found->second.value;
}

std::map<std::string, Environment::FileVariable> Environment::FromFiles(absl::string_view prefix) const {
  std::map<std::string, FileVariable> found;
  for (const auto& [name, variable] : file_) {
    const char* const own = std::getenv(name.c_str());
    if (absl::StartsWith(name, prefix) && (own == nullptr || *own == '\0')) found.emplace(name, variable);
  }
  return found;
}

std::string Environment::Home() const {
  for (const std::string& folder : {Get("HOME"), account_home_}) {
    std::error_code none;
    if (absl::StartsWith(folder, "/") && std::filesystem::is_directory(folder, none)) return folder;
  }
  return "";
}

std::string AccountHome() {
  passwd entry;
  passwd* found = nullptr;
  std::vector<char> text(size_t{64} << 10);
  if (getpwuid_r(geteuid(), &entry, text.data(), text.size(), &found) != 0 || found == nullptr) return "";
  return found->pw_dir == nullptr ? "" : found->pw_dir;
}

std::string FirstSet(const std::vector<std::string>& variables, const Environment& environment) {
  for (const std::string& name : variables) {
    if (std::string value = environment.Get(name); !value.empty()) return value;
  }
  return "";
}

std::string ExpandHome(const std::string& path, const Environment& environment) {
  if (path != "~" && !absl::StartsWith(path, "~/")) return path;
  const std::string home = environment.Home();
  return home.empty() ? path : absl::StrCat(home, path.substr(1));
}

}  // namespace reembed
