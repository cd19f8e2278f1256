// SPDX-License-Identifier: Apache-2.0
#include "engine/text_set.h"

#include <random>
#include <set>
#include <utility>

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(TextSetTest, SaysOfEachTextOnceThatItIsNew) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  TextSet set;
  std::set<uint64_t> known;
  for (int i = 0; i < 200'000; ++i) {
    // Few buckets, and differences in one bit of those that are kept.
    const uint64_t hash = (random() % 4) | (random() % 300) << 16 | (uint64_t{1} << (random() % 56));
    EXPECT_EQ(set.Contains({.lo = hash}), known.contains(hash)) << hash;
    EXPECT_EQ(set.Insert({.lo = hash}), known.insert(hash).second) << hash;
  }
}

TEST(TextSetTest, HoldsAMillionTextsInSevenMegabytesBesidesItsBuckets) {
  std::mt19937_64 random(1);
  TextSet set;
  const size_t empty = set.memory_bytes();
  for (int i = 0; i < 1'000'000; ++i) set.Insert({.lo = random()});
  EXPECT_LE(set.memory_bytes() - empty, 7'000'000u);
}

}  // namespace
}  // namespace reembed
