// SPDX-License-Identifier: Apache-2.0
#include "engine/row_comparison.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/fakes/memory_parts.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

struct KnownRow {
  Key key;
  std::string text;
  SlotState state = SlotState::kKept;
  int64_t slot = 0;
};

class ListCursor final : public LedgerCursor {
 public:
  explicit ListCursor(const std::vector<KnownRow>& rows) : rows_(rows) {}
  absl::StatusOr<std::optional<LedgerRow>> Next() override {
    if (next_ == rows_.size()) return std::nullopt;
    const KnownRow& row = rows_[next_];
    LedgerRow result{.ordinal = static_cast<int64_t>(next_++), .key = ViewOf(row.key), .slot = row.slot};
    if (row.slot >= 0) result.hash = HashText(row.text);
    result.state = row.state;
    return result;
  }

 private:
  const std::vector<KnownRow> rows_;
  size_t next_ = 0;
};

// What was told, by ordinal or key.
struct Told {
  RowComparison found;
  std::vector<int64_t> changed, lost;
  std::vector<std::string> added;  // keys
  std::string after;
};

Told Compare(std::vector<MemoryRow> all, const std::vector<KnownRow>& known, std::vector<MemoryRow>* lacking = nullptr,
             bool only_lacking = false, bool texts = true) {
  MemorySource source(std::move(all)), without(lacking == nullptr ? std::vector<MemoryRow>() : *lacking);
  Told told;
  const auto changed = [&](const LedgerRow& row, const TextHash& now, std::optional<absl::string_view> text) {
    EXPECT_EQ(now, HashText(text.value_or("")));
    told.changed.push_back(row.ordinal);
  };
  const auto lost = [&](const LedgerRow& row) { told.lost.push_back(row.ordinal); };
  const absl::StatusOr<RowComparison> found = CompareRows({.all = &source,
                                                           .lacking = lacking == nullptr ? nullptr : &without,
                                                           .only_lacking = only_lacking,
                                                           .texts = texts},
                                                          std::make_unique<ListCursor>(known), {changed, lost});
  EXPECT_THAT(found, IsOk());
  if (!found.ok()) return told;
  told.found = *found;
  for (const Key& key : found->new_rows.keys) told.added.push_back(KeyText(ViewOf(key)));
  if (found->new_rows.after.has_value()) told.after = KeyText(ViewOf(*found->new_rows.after));
  return told;
}

std::vector<MemoryRow> Rows(const std::vector<int64_t>& keys) {
  std::vector<MemoryRow> rows;
  for (const int64_t key : keys) rows.push_back({key, absl::StrCat("text ", key)});
  return rows;
}

std::vector<KnownRow> Known(const std::vector<int64_t>& keys) {
  std::vector<KnownRow> rows;
  for (const int64_t key : keys) rows.push_back({key, absl::StrCat("text ", key)});
  return rows;
}

TEST(RowComparisonTest, FindsNothingWhereNothingHasChanged) {
  const Told told = Compare(Rows({1, 2, 3}), Known({1, 2, 3}));
  EXPECT_THAT(told.changed, IsEmpty());
  EXPECT_THAT(told.added, IsEmpty());
  EXPECT_EQ(told.after, "3");
  EXPECT_EQ(told.found.rows, 3);
  EXPECT_EQ(told.found.text_bytes, 18);
}

TEST(RowComparisonTest, FindsAnotherText) {
  std::vector<MemoryRow> rows = Rows({1, 2, 3});
  rows[1].text = "edited";
  const Told told = Compare(rows, Known({1, 2, 3}));
  EXPECT_THAT(told.changed, ElementsAre(1));
  EXPECT_EQ(told.found.rows_changed, 1);
  EXPECT_THAT(Compare(rows, Known({1, 2, 3}), nullptr, false, false).changed, IsEmpty());
}

TEST(RowComparisonTest, RowsThatCameAndWentShiftNothing) {
  // 3 and 4 are gone, 0, 2 and 6 are new in front of others, 9 and 10 behind all.
  std::vector<MemoryRow> rows = Rows({0, 1, 2, 5, 6, 7, 8, 9, 10});
  rows[6].text = "edited";
  const Told told = Compare(rows, Known({1, 3, 4, 5, 7, 8}));
  EXPECT_THAT(told.changed, ElementsAre(5));
  EXPECT_THAT(told.added, ElementsAre("0", "2", "6"));
  EXPECT_EQ(told.after, "8");
}

TEST(RowComparisonTest, RowsThatTheLedgerNumberedLaterAreFound) {
  std::vector<MemoryRow> rows = Rows({1, 2, 3, 4, 5, 6});
  rows[1].text = "edited";
  rows[4].text = "edited, too";
  const Told told = Compare(rows, Known({1, 3, 5, 2, 4}));
  EXPECT_THAT(told.changed, UnorderedElementsAre(3, 2));
  EXPECT_THAT(told.added, IsEmpty());
  EXPECT_EQ(told.after, "5");
}

TEST(RowComparisonTest, TextThatCannotBeUsedIsAnotherText) {
  std::vector<MemoryRow> rows = Rows({1, 2});
  rows[0].text = std::nullopt;
  rows[1].text = "";
  EXPECT_THAT(Compare(rows, Known({1, 2})).changed, ElementsAre(0, 1));
}

TEST(RowComparisonTest, ARejectedRowIsTakenUpWhenItsTextIsAnother) {
  std::vector<MemoryRow> rows = Rows({1, 2, 3, 4});
  rows[3].text = "";
  std::vector<KnownRow> known = {{int64_t{1}, "text 1", SlotState::kRejected},
                                 {int64_t{2}, "refused", SlotState::kRejected},
                                 {int64_t{3}, "", SlotState::kRejected, -1},
                                 {int64_t{4}, "", SlotState::kRejected, -1}};
  EXPECT_THAT(Compare(rows, known).changed, ElementsAre(1, 2));
}

TEST(RowComparisonTest, WhatIsNotBoughtYetIsLeftToThoseWhoBuyIt) {
  std::vector<MemoryRow> rows = Rows({1});
  rows[0].text = "edited";
  EXPECT_THAT(Compare(rows, {{int64_t{1}, "text 1", SlotState::kFree}}).changed, IsEmpty());
}

TEST(RowComparisonTest, TellsRowsThatLackTheirVector) {
  std::vector<MemoryRow> lacking = Rows({2, 4, 5, 7});
  const Told told = Compare(Rows({1, 2, 3, 4, 5, 6, 7}), Known({1, 2, 3, 5}), &lacking, true);
  EXPECT_THAT(told.lost, UnorderedElementsAre(1, 3));
  EXPECT_THAT(told.added, ElementsAre("4")) << "6 has a vector of somebody, 7 is behind";
  EXPECT_EQ(told.after, "5");
}

TEST(RowComparisonTest, KeysOfTwoKindsAreTwoKeys) {
  const Told told = Compare({{int64_t{7}, "a"}, {"7", "b"}}, {{"7", "b"}, {int64_t{7}, "a"}});
  EXPECT_THAT(told.changed, IsEmpty());
  EXPECT_THAT(told.added, IsEmpty());
}

TEST(RowComparisonTest, NothingOfTheLedgerIsInTheSource) {
  const Told told = Compare(Rows({5, 6}), Known({1, 2}));
  EXPECT_THAT(told.added, IsEmpty());
  EXPECT_EQ(told.found.new_rows.after, std::nullopt);
}

TEST(RowComparisonTest, FailuresOfTheSourceAreTold) {
  MemorySource source(Rows({1, 2, 3}));
  source.FailAt(1);
  const auto ignore = [](const LedgerRow&, const TextHash&, std::optional<absl::string_view>) {};
  EXPECT_THAT(
      CompareRows({.all = &source}, std::make_unique<ListCursor>(Known({1, 2, 3})), {ignore, [](const LedgerRow&) {}}),
      HasError(absl::StatusCode::kUnavailable, ::testing::_));
}

// Against a table of keys, for orders and changes of every kind. New rows are those that are named, and those behind.
TEST(RowComparisonTest, AgreesWithATableOfKeys) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    std::vector<MemoryRow> rows;
    std::vector<KnownRow> known;
    const bool text_keys = round % 2 == 0;
    for (int64_t i = 0; i < static_cast<int64_t>(random() % 60); ++i) {
      const Key key = text_keys ? Key(absl::StrCat("k", i + 100)) : Key(i);
      const uint64_t what = random() % 8;
      if (what != 0) rows.push_back({key, what == 1 ? "edited" : absl::StrCat("text ", i)});
      if (what != 2) known.push_back({key, absl::StrCat("text ", i)});
    }
    if (round % 3 > 0) std::shuffle(known.begin(), known.end(), random);
    if (round % 5 == 0) std::shuffle(rows.begin(), rows.end(), random);
    std::map<Key, int64_t> ordinals;
    for (size_t i = 0; i < known.size(); ++i) ordinals[known[i].key] = static_cast<int64_t>(i);
    std::set<int64_t> edited;
    std::set<std::string> fresh;
    for (const MemoryRow& row : rows) {
      const auto found = ordinals.find(row.key);
      if (found == ordinals.end()) fresh.insert(KeyText(ViewOf(row.key)));
      if (found != ordinals.end() && row.text == "edited") edited.insert(found->second);
    }
    const Told told = Compare(rows, known);
    EXPECT_EQ(std::set<int64_t>(told.changed.begin(), told.changed.end()), edited);
    EXPECT_EQ(told.changed.size(), edited.size());
    std::set<std::string> taken(told.added.begin(), told.added.end());
    EXPECT_EQ(taken.size(), told.added.size());
    bool behind = !told.found.new_rows.after.has_value();
    for (const MemoryRow& row : rows) {
      if (behind && !told.found.new_rows.known.contains(KeyPrint(ViewOf(row.key)))) {
        EXPECT_TRUE(taken.insert(KeyText(ViewOf(row.key))).second) << "twice";
      }
      behind = behind || row.key == *told.found.new_rows.after;
    }
    EXPECT_EQ(taken, fresh);
  }
}

}  // namespace
}  // namespace reembed
