// SPDX-License-Identifier: Apache-2.0
#include "engine/text/text_filters.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace reembed {
namespace {

// How many bytes the character at the start of `text` has; a byte that begins no UTF-8 character counts as one.
size_t CharacterBytes(absl::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t bytes = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 1;
  for (size_t i = 1; i < bytes; ++i) {
    if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return bytes;
}

uint32_t CodePoint(absl::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(character[i])); };
  switch (character.size()) {
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    case 4:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    default:
      return byte(0);
  }
}

// Whitespace as each language's documentation defines it: Python's str.isspace (bidirectional type WS, B or S, or
// category Zs), ECMAScript's WhiteSpace and LineTerminator (category Zs, the controls of ASCII, and the byte order
// mark).
bool IsSpace(absl::string_view character, bool js) {
  if (character.size() == 1) {
    const auto c = static_cast<unsigned char>(character[0]);
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || (!js && c >= 0x1C && c <= 0x1F);
  }
  const uint32_t code = CodePoint(character);
  if (code == 0x85) return !js;
  if (code == 0xFEFF) return js;
  return code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

// One pass over the characters from `begin` on that keeps, changes or drops each; never makes the text longer.
template <typename Take>
void Rewrite(size_t begin, std::string* out, Take take) {
  size_t written = begin;
  for (size_t i = begin; i < out->size();) {
    const absl::string_view character =
        absl::string_view(*out).substr(i, CharacterBytes({&(*out)[i], out->size() - i}));
    i += character.size();
    const absl::string_view kept = take(character);
    std::copy(kept.begin(), kept.end(), out->begin() + static_cast<std::ptrdiff_t>(written));
    written += kept.size();
  }
  out->resize(written);
}

}  // namespace

void Trim(size_t begin, bool js, std::string* out) {
  bool started = false;
  size_t written = begin, end = begin;  // `end`: behind the last character that is no whitespace
  Rewrite(begin, out, [&](absl::string_view character) -> absl::string_view {
    const bool space = IsSpace(character, js);
    started = started || !space;
    if (!started) return "";
    written += character.size();
    if (!space) end = written;
    return character;
  });
  out->resize(end);
}

void Collapse(size_t begin, bool js, std::string* out) {
  bool in_space = !js;  // as if a space stood before the text, so that none is written there
  Rewrite(begin, out, [&](absl::string_view character) -> absl::string_view {
    const bool space = IsSpace(character, js);
    const bool drop = space && in_space;
    in_space = space;
    if (drop) return "";
    return space ? absl::string_view(" ") : character;
  });
  if (!js && out->size() > begin && out->back() == ' ') out->pop_back();
}

void Lower(size_t begin, std::string* out) {
  const auto from = out->begin() + static_cast<std::ptrdiff_t>(begin);
  std::transform(from, out->end(), from, [](unsigned char c) { return absl::ascii_tolower(c); });
}

void KeepCharacters(size_t begin, absl::string_view table, std::string* out) {
  Rewrite(begin, out, [&](absl::string_view c) {
    const bool kept = static_cast<unsigned char>(c[0]) < 128 && table[static_cast<size_t>(c[0])] == '1';
    return kept ? c : absl::string_view();
  });
}

size_t CutAt(const std::string& out, size_t begin, int64_t limit, bool utf16) {
  int64_t units = 0;
  for (size_t i = begin; i < out.size();) {
    const size_t bytes = CharacterBytes({&out[i], out.size() - i});
    units += utf16 && bytes == 4 ? 2 : 1;
    if (units > limit) return i;
    i += bytes;
  }
  return std::string::npos;
}

void CutWords(size_t begin, int64_t limit, int64_t percent, std::string* out) {
  const size_t at = CutAt(*out, begin, limit, true);
  if (at == std::string::npos) return;
  out->resize(at);
  Trim(begin, true, out);
  const size_t space = out->rfind(' ');
  if (space == std::string::npos || space < begin) return;
  int64_t units = 0;  // before the space
  for (size_t i = begin; i < space;) {
    const size_t bytes = CharacterBytes({&(*out)[i], out->size() - i});
    units += bytes == 4 ? 2 : 1;
    i += bytes;
  }
  if (units * 100 > limit * percent) out->resize(space);
}

}  // namespace reembed
