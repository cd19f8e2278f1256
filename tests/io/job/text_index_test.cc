#include "io/job/text_index.h"

#include <random>
#include <string>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(TextIndexTest, KnowsNothingAtFirst) {
  const TextIndex texts;
  EXPECT_EQ(texts.size(), 0);
  EXPECT_EQ(texts.Find(HashText("a")), -1);
}

TEST(TextIndexTest, TellsHashesApartThatShareAPlace) {
  TextIndex texts;
  for (uint64_t hi = 0; hi < 50; ++hi)
    EXPECT_EQ(texts.Add({.lo = 7, .hi = hi}, SlotState::kFree), static_cast<int64_t>(hi));
  for (uint64_t hi = 0; hi < 50; ++hi) EXPECT_EQ(texts.Find({.lo = 7, .hi = hi}), static_cast<int64_t>(hi));
  EXPECT_EQ(texts.Find({.lo = 7, .hi = 50}), -1);
}

TEST(TextIndexTest, AgreesWithAPlainMap) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    TextIndex texts;
    std::unordered_map<std::string, std::pair<int64_t, SlotState>> expected;
    for (int i = 0; i < 200'000; ++i) {
      const std::string text = absl::StrCat(random() % 150'000);
      const TextHash hash = HashText(text);
      const auto state = static_cast<SlotState>(random() % 4);
      const auto found = expected.find(text);
      ASSERT_EQ(texts.Find(hash), found == expected.end() ? -1 : found->second.first) << text;
      if (found == expected.end()) {
        expected[text] = {texts.Add(hash, state), state};
      } else {
        texts.set_state(found->second.first, state);
        found->second.second = state;
      }
    }
    ASSERT_EQ(texts.size(), static_cast<int64_t>(expected.size()));
    for (const auto& [text, slot] : expected) {
      ASSERT_EQ(texts.hash(slot.first), HashText(text));
      ASSERT_EQ(texts.state(slot.first), slot.second);
    }
  }
}

TEST(TextIndexTest, ReservingChangesNothingButTheTable) {
  TextIndex texts;
  for (int i = 0; i < 1000; ++i) texts.Add(HashText(absl::StrCat(i)), SlotState::kKept);
  texts.Reserve(100'000);
  const size_t bytes = texts.memory_bytes();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(texts.Find(HashText(absl::StrCat(i))), i);
  for (int i = 1000; i < 60'000; ++i) texts.Add(HashText(absl::StrCat(i)), SlotState::kKept);
  EXPECT_EQ(texts.memory_bytes(), bytes);
}

// 17 bytes a text, at most 4 * 2 / 0.7 for its place in a table that has just doubled, and one segment.
TEST(TextIndexTest, MemoryStaysBoundedPerText) {
  TextIndex texts;
  for (int i = 0; i < 1'000'000; ++i) {
    texts.Add(HashText(absl::StrCat(i)), SlotState::kFree);
    ASSERT_LE(texts.memory_bytes(), 29u * texts.size() + (size_t{1} << 21)) << texts.size();
  }
  EXPECT_LE(texts.memory_bytes(), 26'500'000u);
}

}  // namespace
}  // namespace reembed
