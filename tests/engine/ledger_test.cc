// SPDX-License-Identifier: Apache-2.0
#include "engine/ledger.h"

#include <string>

#include "gtest/gtest.h"

namespace reembed {
namespace {

// Reference values: `xxhsum -H2` of xxHash 0.8.1. Ledgers on disk hold these numbers: they may never change.
TEST(TextHashTest, IsTheSameForever) {
  EXPECT_EQ(HashText(""), (TextHash{.lo = 0x6001c324468d497f, .hi = 0x99aa06d3014798d8}));
  EXPECT_EQ(HashText("reembed"), (TextHash{.lo = 0x4686513b96cb5da5, .hi = 0x3ae51dd297481b98}));
  std::string long_text;
  for (int i = 0; i < 100; ++i) long_text += "0123456789";
  EXPECT_EQ(HashText(long_text), (TextHash{.lo = 0xdbdf770360da5ac5, .hi = 0xc9df19c4eccbf540}));
}

TEST(TextHashTest, TellsTextsApartByOneByte) {
  EXPECT_FALSE(HashText("a") == HashText("b"));
  EXPECT_FALSE(HashText("a") == HashText(absl::string_view("a\0", 2)));
}

}  // namespace
}  // namespace reembed
