// SPDX-License-Identifier: Apache-2.0
#include "engine/place_name.h"

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(PlaceNameTest, AnAddressHasItsSchemeAndAFileIsAPath) {
  EXPECT_EQ(PlaceName({.scheme = "automem", .path = "//127.0.0.1:6379/memories", .parameters = {{"label", "Memory"}}}),
            "automem://127.0.0.1:6379/memories");
  EXPECT_EQ(PlaceName({.scheme = "postgres", .path = "//me@host/db"}), "postgres://me@host/db");
  EXPECT_EQ(PlaceName({.scheme = "sqlite", .path = "/home/me/memory.db"}), "/home/me/memory.db");
  EXPECT_EQ(PlaceName({.scheme = "qdrant", .path = "http://host:6333/memories"}), "http://host:6333/memories");
}

}  // namespace
}  // namespace reembed
