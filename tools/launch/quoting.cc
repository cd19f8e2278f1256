// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/quoting.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/number/json_text.h"

namespace reembed {
namespace {

// What YAML does not take as it stands, or takes for a line break, though it is UTF-8.
constexpr absl::string_view kOddInYaml[] = {"\u2028", "\u2029", "\uFEFF", "\uFFFE", "\uFFFF"};
constexpr const char* kOddNames[] = {"\\u2028", "\\u2029", "\\uFEFF", "\\uFFFE", "\\uFFFF"};

// The escape of the character at the beginning of `rest`, and how many bytes it has; empty: it stands for itself.
std::string YamlEscape(absl::string_view rest, size_t* bytes) {
  const unsigned char c = static_cast<unsigned char>(rest[0]);
  *bytes = 1;
  if (c == '"' || c == '\\') return absl::StrCat("\\", rest.substr(0, 1));
  if (c == '\n') return "\\n";
  if (c < 0x20 || c == 0x7F) return absl::StrFormat("\\x%02X", c);
  // The controls U+0080 to U+009F.
  if (c == 0xC2 && static_cast<unsigned char>(rest[1]) < 0xA0) {
    *bytes = 2;
    return absl::StrFormat("\\x%02X", static_cast<unsigned char>(rest[1]));
  }
  for (size_t i = 0; i < std::size(kOddInYaml); ++i) {
    if (rest.substr(0, kOddInYaml[i].size()) != kOddInYaml[i]) continue;
    *bytes = kOddInYaml[i].size();
    return kOddNames[i];
  }
  return "";
}

}  // namespace

std::string ShellQuoted(absl::string_view word) {
  // At the beginning of a line NAME=VALUE would be an assignment.
  const absl::string_view signs = absl::StartsWith(word, "--") ? "_-./:,+@%=" : "_-./:,+@%";
  const auto is_plain = [signs](char c) { return absl::ascii_isalnum(c) || absl::StrContains(signs, c); };
  bool plain = !word.empty();
  for (const char c : word) plain = plain && is_plain(c);
  // Words that need no quotes are easier to read without.
  return plain ? std::string(word) : absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

std::string ShellLine(const std::vector<std::string>& words) {
  return absl::StrJoin(words, " ", [](std::string* out, const std::string& word) { *out += ShellQuoted(word); });
}

absl::StatusOr<std::string> SbatchQuoted(absl::string_view what, absl::string_view word) {
  for (const char c : word) {
    if (absl::ascii_iscntrl(c)) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": expected no line breaks or other control characters, as Slurm reads it from one line"));
    }
  }
  return absl::StrCat("\"", absl::StrReplaceAll(word, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

absl::StatusOr<std::string> YamlQuoted(absl::string_view what, absl::string_view word) {
  if (!IsValidUtf8(word)) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": expected UTF-8, as a manifest has nothing else"));
  }
  std::string out = "\"";
  size_t bytes = 0;
  for (size_t at = 0; at < word.size(); at += bytes) {
    const std::string escape = YamlEscape(word.substr(at), &bytes);
    absl::StrAppend(&out, escape.empty() ? word.substr(at, bytes) : absl::string_view(escape));
  }
  return out + "\"";
}

std::string ContainerWord(absl::string_view word) { return absl::StrReplaceAll(word, {{"$", "$$"}}); }

}  // namespace reembed
