// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_value.h"

#include <charconv>
#include <cstring>
#include <system_error>

#include "absl/strings/ascii.h"
#include "engine/number/json_text.h"

namespace reembed {
namespace {

void AppendCodePoint(uint32_t code, std::string* out) {
  const auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

// The code unit of `uXXXX` at the start of `text`.
std::optional<uint32_t> CodeUnit(absl::string_view text) {
  if (text.size() < 5 || text[0] != 'u') return std::nullopt;
  uint32_t unit = 0;
  const auto result = std::from_chars(text.data() + 1, text.data() + 5, unit, 16);
  if (result.ec != std::errc() || result.ptr != text.data() + 5) return std::nullopt;
  return unit;
}

// Appends what the escape at the start of `text` (behind its backslash) means; returns its length, 0 if there is none.
size_t AppendEscape(absl::string_view text, std::string* out) {
  constexpr absl::string_view kNames = "\"\\/bfnrt";
  constexpr absl::string_view kMeanings = "\"\\/\b\f\n\r\t";
  if (text.empty()) return 0;
  if (const size_t i = kNames.find(text[0]); i != absl::string_view::npos) {
    out->push_back(kMeanings[i]);
    return 1;
  }
  const std::optional<uint32_t> unit = CodeUnit(text);
  if (!unit.has_value()) return 0;
  if (*unit >= 0xD800 && *unit < 0xDC00 && text.size() > 5 && text[5] == '\\') {
    const std::optional<uint32_t> low = CodeUnit(text.substr(6));
    if (low.has_value() && *low >= 0xDC00 && *low < 0xE000) {
      AppendCodePoint(0x10000 + ((*unit - 0xD800) << 10) + (*low - 0xDC00), out);
      return 11;
    }
  }
  AppendCodePoint(*unit, out);
  return 5;
}

}  // namespace

std::optional<absl::string_view> JsonString(absl::string_view token, std::string* space) {
  token = absl::StripAsciiWhitespace(token);
  if (token.size() < 2 || token.front() != '"' || token.back() != '"') return std::nullopt;
  token = token.substr(1, token.size() - 2);
  size_t backslash = token.find('\\');
  if (backslash == absl::string_view::npos) return token;
  space->clear();
  while (backslash != absl::string_view::npos) {
    space->append(token.data(), backslash);
    token.remove_prefix(backslash + 1);
    const size_t length = AppendEscape(token, space);
    if (length == 0) return std::nullopt;
    token.remove_prefix(length);
    backslash = token.find('\\');
  }
  space->append(token.data(), token.size());
  return *space;
}

std::optional<int64_t> JsonInteger(absl::string_view token) {
  token = absl::StripAsciiWhitespace(token);
  int64_t number = 0;
  const auto result = std::from_chars(token.data(), token.data() + token.size(), number);
  if (result.ec != std::errc() || result.ptr != token.data() + token.size()) return std::nullopt;
  return number;
}

std::optional<float> JsonFloat(absl::string_view token) {
  token = absl::StripTrailingAsciiWhitespace(token);
  // Words that from_chars knows and JSON does not: nan, inf.
  const size_t digit = !token.empty() && token.front() == '-' ? 1 : 0;
  if (token.size() <= digit || !absl::ascii_isdigit(static_cast<unsigned char>(token[digit]))) return std::nullopt;
  float number = 0;
  const auto result = std::from_chars(token.data(), token.data() + token.size(), number);
  if (result.ec != std::errc() || result.ptr != token.data() + token.size()) return std::nullopt;
  return number;
}

absl::string_view JsonKindName(absl::string_view token) {
  token = absl::StripLeadingAsciiWhitespace(token);
  switch (token.empty() ? 'n' : token.front()) {
    case '"':
      return "a string";
    case '{':
      return "an object";
    case '[':
      return "a list";
    case 't':
    case 'f':
      return "a truth value";
    case 'n':
      return "null";
    default:
      return "a number";
  }
}

std::optional<KeyView> JsonKey(absl::string_view token, std::string* space) {
  if (const std::optional<int64_t> number = JsonInteger(token)) return KeyView(*number);
  const std::optional<absl::string_view> text = JsonString(token, space);
  if (!text.has_value() || !IsValidUtf8(*text)) return std::nullopt;
  return KeyView(*text);
}

}  // namespace reembed
