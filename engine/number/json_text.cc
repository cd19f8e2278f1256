// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_text.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/str_format.h"

namespace reembed {
namespace {

bool NeedsEscape(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

// Whether one of eight bytes does. x - ones borrows out of a byte that is 0, whose highest bit was not set.
bool OneNeedsEscape(uint64_t bytes) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  const auto has_below = [](uint64_t x, uint64_t limit) { return (x - kOnes * limit) & ~x & kOnes * 0x80; };
  return (has_below(bytes, 0x20) | has_below(bytes ^ kOnes * '"', 1) | has_below(bytes ^ kOnes * '\\', 1)) != 0;
}

void AppendEscaped(char c, std::string* out) {
  switch (c) {
    case '"':
      out->append("\\\"");
      return;
    case '\\':
      out->append("\\\\");
      return;
    case '\n':
      out->append("\\n");
      return;
    case '\r':
      out->append("\\r");
      return;
    case '\t':
      out->append("\\t");
      return;
    default:
      absl::StrAppendFormat(out, "\\u%04x", static_cast<unsigned>(c));
  }
}

}  // namespace

std::string JsonQuoted(absl::string_view text) {
  std::string json;
  AppendJsonString(text, &json);
  return json;
}

void AppendAsciiJsonString(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t at) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i + at])); };
    const uint32_t lead = byte(0);
    const size_t bytes = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (bytes > text.size() - i) break;  // not UTF-8: not ours to print
    if (bytes == 1) {
      const char* const names = "\b\f";
      const char* const found = lead == 0 ? nullptr : std::strchr(names, static_cast<int>(lead));
      if (found != nullptr) {
        out->append(found == names ? "\\b" : "\\f");
      } else if (lead == 0x7F || NeedsEscape(static_cast<unsigned char>(lead))) {
        AppendEscaped(text[i], out);
      } else {
        out->push_back(text[i]);
      }
    } else {
      uint32_t code = lead & (bytes == 2 ? 0x1F : bytes == 3 ? 0x0F : 0x07);
      for (size_t at = 1; at < bytes; ++at) code = code << 6 | (byte(at) & 0x3F);
      if (code >= 0x10000) {
        code -= 0x10000;
        absl::StrAppendFormat(out, "\\u%04x", 0xD800 + (code >> 10));
        code = 0xDC00 + (code & 0x3FF);
      }
      absl::StrAppendFormat(out, "\\u%04x", code);
    }
    i += bytes;
  }
  out->push_back('"');
}

void AppendJsonString(absl::string_view text, std::string* out) {
  out->push_back('"');
  size_t plain = 0;  // start of the run that needs no escape, copied at once
  for (size_t i = 0; i < text.size(); ++i) {
    uint64_t eight = 0;
    while (text.size() - i >= sizeof(eight)) {
      std::memcpy(&eight, text.data() + i, sizeof(eight));
      if (OneNeedsEscape(eight)) break;
      i += sizeof(eight);
    }
    if (i == text.size()) break;
    if (!NeedsEscape(static_cast<unsigned char>(text[i]))) continue;
    out->append(text.data() + plain, i - plain);
    AppendEscaped(text[i], out);
    plain = i + 1;
  }
  out->append(text.data() + plain, text.size() - plain);
  out->push_back('"');
}

bool IsValidUtf8(absl::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const unsigned char* const end = p + text.size();
  const auto continues = [end](const unsigned char* q, unsigned char low, unsigned char high) {
    return q < end && *q >= low && *q <= high;
  };
  while (p < end) {
    if (end - p >= 8) {
      uint64_t eight;
      std::memcpy(&eight, p, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        p += 8;
        continue;
      }
    }
    const unsigned char c = *p;
    if (c < 0x80) {
      p += 1;
    } else if (c >= 0xC2 && c <= 0xDF && continues(p + 1, 0x80, 0xBF)) {
      p += 2;
    } else if (c >= 0xE0 && c <= 0xEF) {
      const unsigned char low = c == 0xE0 ? 0xA0 : 0x80;
      const unsigned char high = c == 0xED ? 0x9F : 0xBF;
      if (!continues(p + 1, low, high) || !continues(p + 2, 0x80, 0xBF)) return false;
      p += 3;
    } else if (c >= 0xF0 && c <= 0xF4) {
      const unsigned char low = c == 0xF0 ? 0x90 : 0x80;
      const unsigned char high = c == 0xF4 ? 0x8F : 0xBF;
      if (!continues(p + 1, low, high) || !continues(p + 2, 0x80, 0xBF) || !continues(p + 3, 0x80, 0xBF)) return false;
      p += 4;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace reembed
