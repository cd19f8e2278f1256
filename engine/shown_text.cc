// SPDX-License-Identifier: Apache-2.0
#include "engine/shown_text.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "engine/number/json_text.h"

namespace reembed {
namespace {

constexpr char kMasked[] = "[...]";
constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD
// As the manual and messages spell an example.
constexpr absl::string_view kExampleLogin = "user:password";

// Runs of so many bytes of a secret do not get into messages.
constexpr size_t kSecretRun = 6;

// Of what a server says, looked at.
constexpr size_t kReadBytes = 4096;

// Bytes of the UTF-8 character at the front of `text`; 0: there is none.
size_t CharacterBytes(absl::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const size_t bytes = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return bytes <= text.size() && IsValidUtf8(text.substr(0, bytes)) ? bytes : 0;
}

// The code point of a character of three bytes that has text after it read in another direction; 0: it is none. What is
// shown would not be what is there (Unicode's UTS 55 on such spoofing).
int DirectionControl(absl::string_view character) {
  if (character.size() != 3 || character.substr(0, 1) != "\xE2") return 0;
  const int point = 0x2000 | (character[1] & 0x3F) << 6 | (character[2] & 0x3F);
  const bool turns = point == 0x200E || point == 0x200F || (point >= 0x202A && point <= 0x202E) ||
                     (point >= 0x2066 && point <= 0x2069);
  return turns ? point : 0;
}

// Of `rest`, behind :// of a URL. A user alone is no secret, but behind http:// it may be a token.
size_t LoginBytes(absl::string_view rest, bool is_http) {
  const size_t end = std::find_if(rest.begin(), rest.end(),
                                  [](char c) {
                                    return absl::ascii_isspace(static_cast<unsigned char>(c)) ||
                                           absl::string_view("/?#\"'<>`").find(c) != absl::string_view::npos;
                                  }) -
                     rest.begin();
  const size_t at = rest.substr(0, end).rfind('@');
  if (at == absl::string_view::npos) return 0;
  const absl::string_view login = rest.substr(0, at);
  if (absl::EqualsIgnoreCase(login, kExampleLogin)) return 0;
  return is_http || absl::StrContains(login, ':') ? at : 0;
}

std::string Shown(absl::string_view text, bool one_line) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (absl::StartsWith(text.substr(i), "://")) {
      out += "://";
      i += 3;
      const bool is_http =
          absl::EndsWith(text.substr(0, i), "http://") || absl::EndsWith(text.substr(0, i), "https://");
      if (const size_t login = LoginBytes(text.substr(i), is_http); login > 0) {
        out += kMasked;
        i += login;
      }
      continue;
    }
    const bool breaks_line = byte == '\n' || (byte == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
    if (byte < 0x80 && (byte >= 0x20 || byte == '\t' || (breaks_line && !one_line)) && byte != 0x7F) {
      out.push_back(text[i++]);
      continue;
    }
    const size_t bytes = CharacterBytes(text.substr(i));
    if (bytes == 0) {
      out += kReplacement;
      ++i;
    } else if (bytes == 1) {
      absl::StrAppendFormat(&out, "\\u%04x", byte);
      ++i;
    } else if (byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<unsigned char>(text[i + 1]));
      i += 2;
    } else if (const int point = DirectionControl(text.substr(i, bytes)); point != 0) {
      absl::StrAppendFormat(&out, "\\u%04x", point);
      i += bytes;
    } else {
      out.append(text.data() + i, bytes);
      i += bytes;
    }
  }
  return out;
}

// Marks the bytes of `message` that belong to a run of at least `shortest` bytes of `secret`.
void MarkShared(absl::string_view message, absl::string_view secret, size_t shortest, std::vector<char>* marks) {
  const size_t window = std::min(shortest, secret.size());
  if (window == 0) return;
  for (size_t i = 0; i + window <= message.size(); ++i) {
    if (secret.find(message.substr(i, window)) == absl::string_view::npos) continue;
    std::fill_n(marks->begin() + static_cast<std::ptrdiff_t>(i), window, 1);
  }
}

std::string WithoutMarked(absl::string_view message, const std::vector<char>& marks) {
  std::string out;
  for (size_t i = 0; i < message.size(); ++i) {
    if (!marks[i]) {
      out.push_back(message[i]);
    } else if (i == 0 || !marks[i - 1]) {
      out.append(kMasked);
    }
  }
  return out;
}

bool NamesSecret(absl::string_view name) {
  static constexpr const char* kWords[] = {"password", "passwd", "secret", "token", "apikey", "api_key", "api-key"};
  const std::string lower = absl::AsciiStrToLower(name);
  return std::any_of(std::begin(kWords), std::end(kWords),
                     [&](const char* word) { return absl::StrContains(lower, word); });
}

}  // namespace

size_t UrlLoginBytes(absl::string_view rest) { return LoginBytes(rest, false); }

std::string ShownText(absl::string_view text) { return Shown(text, false); }

std::string ShownLine(absl::string_view text) { return Shown(text, true); }

std::string MaskShared(absl::string_view message, absl::string_view secret, size_t shortest) {
  std::vector<char> marks(message.size(), 0);
  MarkShared(message, secret, shortest, &marks);
  return WithoutMarked(message, marks);
}

std::string Shorten(absl::string_view message, size_t max_bytes) {
  const bool cut = message.size() > max_bytes;
  if (cut) {
    while (max_bytes > 0 && (static_cast<unsigned char>(message[max_bytes]) & 0xC0) == 0x80) --max_bytes;
    message = message.substr(0, max_bytes);
  }
  std::string out(message);
  const bool is_text = IsValidUtf8(message);
  for (size_t i = 0; i < out.size(); ++i) {
    const auto byte = static_cast<unsigned char>(out[i]);
    if (absl::ascii_iscntrl(byte)) out[i] = ' ';
    if (byte >= 0x80 && !is_text) out[i] = '?';
    // U+0080 to U+009F control a terminal, too.
    const bool is_control = is_text && byte == 0xC2 && static_cast<unsigned char>(out[i + 1]) < 0xA0;
    if (is_control) out[i] = out[i + 1] = ' ';
  }
  if (cut) out.append("...");
  return out;
}

std::string ServerWords(absl::string_view words, absl::Span<const std::string> secrets, size_t max_bytes) {
  const std::string read = Shorten(absl::StripAsciiWhitespace(words), kReadBytes);
  std::vector<char> marks(read.size(), 0);
  for (const std::string& secret : secrets) MarkShared(read, secret, kSecretRun, &marks);
  return Shorten(WithoutMarked(read, marks), max_bytes);
}

std::vector<std::string> SecretValues(absl::string_view words) {
  std::vector<std::string> values;
  for (const absl::string_view word : absl::StrSplit(words, absl::ByAnyChar(" \t\n"), absl::SkipEmpty())) {
    const size_t equals = word.find('=');
    if (equals == absl::string_view::npos || equals + 1 == word.size() || !NamesSecret(word.substr(0, equals)))
      continue;
    values.emplace_back(word.substr(equals + 1));
  }
  return values;
}

}  // namespace reembed
