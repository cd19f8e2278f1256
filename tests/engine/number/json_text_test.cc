// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_text.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

std::string Escaped(char c) {
  if (c == '"' || c == '\\') return absl::StrCat("\\", std::string(1, c));
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 ? absl::StrFormat("\\u%04x", byte) : std::string(1, c);
}

// Texts are looked at eight bytes at a time: each byte, at each place among others of either kind.
TEST(JsonTextTest, EscapesEachByteWhereverItStands) {
  for (int byte = 0; byte < 256; ++byte) {
    for (const char other : {'a', '\x1f', '\x20', '\x21', '"', '\\', '\x7f', '\x80', '\xff'}) {
      for (size_t size = 1; size <= 18; ++size) {
        for (size_t at = 0; at < size; ++at) {
          std::string text(size, other), expected = "\"";
          text[at] = static_cast<char>(byte);
          for (const char c : text) expected += Escaped(c);
          ASSERT_EQ(JsonQuoted(text), expected + "\"") << byte << " at " << at << " of " << size;
        }
      }
    }
  }
  EXPECT_EQ(JsonQuoted(""), "\"\"");
}

}  // namespace
}  // namespace reembed
