// SPDX-License-Identifier: Apache-2.0
#include "io/job/text_index.h"

#include <filesystem>
#include <random>
#include <string>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"
#include "tests/fakes/temp_folder.h"

namespace reembed {
namespace {

TEST(TextIndexTest, KnowsNothingAtFirst) {
  const TempFolder folder;
  const TextIndex texts(folder.path());
  EXPECT_EQ(texts.size(), 0);
  EXPECT_EQ(*texts.Find(HashText("a")), -1);
}

// All bits that are held in memory are the same: only the file tells them apart.
TEST(TextIndexTest, TellsHashesApartThatLookTheSameInMemory) {
  const TempFolder folder;
  TextIndex texts(folder.path());
  constexpr uint64_t kHashes = 20'000;
  for (uint64_t hi = 0; hi < kHashes; ++hi) ASSERT_TRUE(texts.Add({.lo = 7, .hi = hi}, SlotState::kFree).ok());
  for (uint64_t hi = 0; hi < kHashes; hi += 997) EXPECT_EQ(*texts.Find({.lo = 7, .hi = hi}), static_cast<int64_t>(hi));
  EXPECT_EQ(*texts.Find({.lo = 7, .hi = kHashes}), -1);
}

// Two texts of one bucket with more texts of others between them than a distance can name.
TEST(TextIndexTest, FindsATextFarBehindTheOneBeforeItInItsBucket) {
  const TempFolder folder;
  TextIndex texts(folder.path());
  constexpr int64_t kFar = 3'200'000;
  ASSERT_TRUE(texts.Add({.lo = 0, .hi = 1}, SlotState::kKept).ok());
  for (int64_t i = 1; i < kFar; ++i) {
    ASSERT_TRUE(texts.Add({.lo = 1 + static_cast<uint64_t>(i) % 65'000, .hi = 0}, SlotState::kFree).ok());
  }
  ASSERT_TRUE(texts.Add({.lo = 0, .hi = 2}, SlotState::kClaimed).ok());
  EXPECT_EQ(*texts.Find({.lo = 0, .hi = 1}), 0);
  EXPECT_EQ(*texts.Find({.lo = 0, .hi = 2}), kFar);
  EXPECT_EQ(texts.state(kFar), SlotState::kClaimed);
}

TEST(TextIndexTest, AgreesWithAPlainMap) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    const TempFolder folder;
    TextIndex texts(folder.path());
    std::unordered_map<std::string, std::pair<int64_t, SlotState>> expected;
    for (int i = 0; i < 200'000; ++i) {
      const std::string text = absl::StrCat(random() % 150'000);
      const TextHash hash = HashText(text);
      const auto state = static_cast<SlotState>(random() % 4);
      const auto found = expected.find(text);
      ASSERT_EQ(*texts.Find(hash), found == expected.end() ? -1 : found->second.first) << text;
      if (found == expected.end()) {
        ASSERT_TRUE(texts.Add(hash, state).ok());
        expected[text] = {texts.size() - 1, state};
      } else {
        texts.set_state(found->second.first, state);
        found->second.second = state;
      }
    }
    ASSERT_EQ(texts.size(), static_cast<int64_t>(expected.size()));
    for (const auto& [text, slot] : expected) {
      ASSERT_EQ(*texts.hash(slot.first), HashText(text));
      ASSERT_EQ(texts.state(slot.first), slot.second);
    }
    for (int i = 0; i < 300; ++i) {  // many of them end in what is not in the file yet
      const int64_t count = static_cast<int64_t>(random() % 20'000);
      const int64_t first = i % 2 == 0 ? texts.size() - count : static_cast<int64_t>(random() % (texts.size() - count));
      std::vector<TextHash> hashes(count);
      ASSERT_TRUE(texts.ReadHashes(first, absl::MakeSpan(hashes)).ok());
      for (int64_t k = 0; k < count; k += 1 + count / 50)
        ASSERT_EQ(hashes[k], *texts.hash(first + k)) << first << " " << k;
    }
  }
}

// As when a job is opened again: there are as many buckets as it takes from the start.
TEST(TextIndexTest, TextsThatWereExpectedAreFoundAsOthers) {
  const TempFolder folder;
  for (const int64_t expected : {1, 49'151, 49'152, 98'304, 100'000, 130'000, 400'000}) {
    SCOPED_TRACE(absl::StrCat("expected ", expected));
    TextIndex texts(folder.path());
    texts.Expect(expected);
    constexpr int64_t kTexts = 130'000;
    for (int64_t i = 0; i < kTexts; ++i) ASSERT_TRUE(texts.Add(HashText(absl::StrCat(i)), SlotState::kKept).ok());
    for (int64_t i = 0; i < kTexts; i += 7) ASSERT_EQ(*texts.Find(HashText(absl::StrCat(i))), i);
    for (int64_t i = kTexts; i < kTexts + 1000; ++i) ASSERT_EQ(*texts.Find(HashText(absl::StrCat(i))), -1);
  }
}

TEST(TextIndexTest, LeavesNothingBehind) {
  const TempFolder folder;
  {
    TextIndex texts(folder.path());
    for (int i = 0; i < 50'000; ++i) ASSERT_TRUE(texts.Add(HashText(absl::StrCat(i)), SlotState::kFree).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(TextIndexTest, AFolderThatIsGoneIsAnError) {
  TextIndex texts("/nowhere/at/all");
  absl::Status status;
  for (int i = 0; i < 50'000 && status.ok(); ++i) status = texts.Add(HashText(absl::StrCat(i)), SlotState::kFree);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
}

TEST(SlotStatesTest, HoldsEachStateByItsSlotAlone) {
  constexpr SlotState kAll[] = {SlotState::kFree, SlotState::kClaimed, SlotState::kKept, SlotState::kRejected};
  SlotStates states;
  states.Reset(5);  // the last four is not full
  for (int64_t slot = 0; slot < states.size(); ++slot) EXPECT_EQ(states[slot], SlotState::kFree);
  for (int64_t slot = 5; slot < 1003; ++slot) states.Add(kAll[slot % 4]);
  states.Set(3, SlotState::kRejected);
  states.Set(3, SlotState::kKept);
  EXPECT_EQ(states.size(), 1003);
  for (int64_t slot = 5; slot < 1003; ++slot) EXPECT_EQ(states[slot], kAll[slot % 4]) << slot;
  EXPECT_EQ(states[3], SlotState::kKept);
  EXPECT_EQ(states[2], SlotState::kFree);
  EXPECT_EQ(states[4], SlotState::kFree);
  EXPECT_EQ(states.Count(SlotState::kKept), 1 + 250);  // 6, 10, ... 1002
  EXPECT_EQ(states.Count(SlotState::kRejected), 249);  // 7, 11, ... 999
  EXPECT_TRUE(states.contains(1002));
  EXPECT_FALSE(states.contains(1003));
  EXPECT_FALSE(states.contains(-1));
  states.Reset(2);
  EXPECT_EQ(states.size(), 2);
  EXPECT_EQ(states[1], SlotState::kFree);
}

// 4 bytes for its entry, half a block for growing and 16 bytes for its bucket, which it shares with some 47 others, 2
// bits for its state; and what every index has.
TEST(TextIndexTest, MemoryStaysBoundedPerText) {
  const TempFolder folder;
  TextIndex texts(folder.path());
  const size_t empty = texts.memory_bytes();
  EXPECT_LE(empty, size_t{200} << 10);
  for (const int64_t size : {100'000, 1'000'000, 2'000'000}) {
    while (texts.size() < size) {
      ASSERT_TRUE(texts.Add(HashText(absl::StrCat(texts.size())), SlotState::kFree).ok());
    }
    EXPECT_LE(texts.memory_bytes() - empty, size_t{5} * texts.size()) << size;
  }
}

}  // namespace
}  // namespace reembed
