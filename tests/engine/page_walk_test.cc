// SPDX-License-Identifier: Apache-2.0
#include "engine/page_walk.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;

constexpr PageSize::Limits kLimits{
    .first_rows = 10, .least_rows = 4, .most_rows = 1000, .most_found = 64, .page_bytes = 10000};

TEST(PageSizeTest, GrowsToAsManyRowsAsFitIntoAPage) {
  PageSize size(kLimits);
  EXPECT_EQ(size.walk_rows(), 10u);
  size.Came(10, 10, 10 * 19);
  EXPECT_EQ(size.walk_rows(), 80u) << "not at once";
  size.Came(80, 80, 80 * 19);
  EXPECT_EQ(size.walk_rows(), 500u) << "page_bytes / 20";
  size.Came(500, 500, 500 * 3);
  EXPECT_EQ(size.walk_rows(), 1000u) << "most_rows";
}

TEST(PageSizeTest, ShrinksWhereRowsAreLong) {
  PageSize size(kLimits);
  size.Came(10, 10, 10 * 9);
  size.Came(80, 30, 12000);
  EXPECT_EQ(size.walk_rows(), 24u) << "as many as fit of those that came";
  size.Came(24, 24, 240000);
  EXPECT_EQ(size.walk_rows(), 4u) << "least_rows";
}

TEST(PageSizeTest, AShortPageIsNoReasonToAskForMore) {
  PageSize size(kLimits);
  size.Came(10, 3, 30);
  EXPECT_EQ(size.walk_rows(), 10u);
  size.Came(10, 0, 0);
  EXPECT_EQ(size.walk_rows(), 10u);
}

TEST(PageSizeTest, WhatWasTooMuchIsNotAskedForAgainSoon) {
  PageSize size(kLimits);
  size.Came(10, 10, 90);
  size.Came(80, 80, 720);
  size.Came(640, 640, 640);
  ASSERT_EQ(size.walk_rows(), 1000u);
  size_t rows = 1000;
  EXPECT_TRUE(size.TooMuch(&rows));
  EXPECT_EQ(rows, 250u);
  EXPECT_EQ(size.walk_rows(), 250u);
  EXPECT_LE(size.found_rows(), 250u);
  int pages = 0;
  while (size.walk_rows() < 1000) {
    rows = size.walk_rows();
    size.Came(rows, rows, rows);
    ++pages;
  }
  EXPECT_THAT(pages, AllOf(Ge(15), Le(40)));
}

TEST(PageSizeTest, OneRowThatIsTooMuchIsTheEnd) {
  PageSize size(kLimits);
  size_t rows = 10;
  EXPECT_TRUE(size.TooMuch(&rows));
  EXPECT_EQ(rows, 2u);
  EXPECT_TRUE(size.TooMuch(&rows));
  EXPECT_EQ(rows, 1u);
  EXPECT_FALSE(size.TooMuch(&rows));
  EXPECT_EQ(size.walk_rows(), 1u);
  PageSize pairs({.first_rows = 8, .least_rows = 2, .fewest_rows = 2});
  rows = 8;
  EXPECT_TRUE(pairs.TooMuch(&rows));
  EXPECT_EQ(rows, 2u);
  EXPECT_FALSE(pairs.TooMuch(&rows));
}

TEST(PageSizeTest, ReadsAheadOnlyWhileItIsOfUse) {
  PageSize size(kLimits);
  EXPECT_EQ(size.found_rows(), 1u);
  size.Missed(false);
  EXPECT_EQ(size.found_rows(), 2u);
  for (int i = 0; i < 10; ++i) size.Hit();
  EXPECT_EQ(size.found_rows(), 64u) << "most_found";
  size.Missed(false);
  EXPECT_EQ(size.found_rows(), 64u);
  size.Missed(true);
  EXPECT_EQ(size.found_rows(), 1u);
  for (int i = 0; i < 10; ++i) size.Hit();
  size.Came(64, 5, 10000);
  EXPECT_EQ(size.found_rows(), 4u) << "rows are long";
}

// A store in memory, whose keys are integers.
class Rows final : public PageReader {
 public:
  explicit Rows(int rows) {
    for (int i = 1; i <= rows; ++i) keys.insert(i * 10);
  }

  absl::StatusOr<Page> ReadPage(const PageStart& start, size_t max_rows) override {
    static constexpr const char* kFrom[] = {"first", "at", "behind"};
    asked.push_back(absl::StrCat(kFrom[static_cast<int>(start.from)],
                                 start.from == PageStart::From::kFirst ? "" : " " + KeyText(ViewOf(start.key)), ": ",
                                 max_rows));
    page_.clear();
    if (!failure.ok()) return failure;
    if (max_rows > most) return absl::DeadlineExceededError("too slow");
    auto key = keys.begin();
    if (start.from == PageStart::From::kAt) key = keys.lower_bound(std::get<int64_t>(start.key));
    if (start.from == PageStart::From::kBehind) key = keys.upper_bound(std::get<int64_t>(start.key));
    const size_t rows = std::min(max_rows, shown);
    for (; key != keys.end() && page_.size() < rows; ++key) page_.push_back(*key);
    Page page{.rows = page_.size(), .bytes = bytes_of_row * page_.size(), .more = key != keys.end()};
    if (says_next && page.more) page.next = {PageStart::From::kAt, *key};
    return page;
  }
  bool IsTooMuch(const absl::Status& status) const override { return absl::IsDeadlineExceeded(status); }
  KeyView KeyAt(size_t row) const override { return page_[row]; }
  bool IsBefore(KeyView a, KeyView b) const override { return knows_order && a < b; }

  std::set<int64_t> keys;
  std::vector<std::string> asked;  // since it was cleared
  absl::Status failure;
  size_t most = 1000000;   // more rows are too much
  size_t shown = 1000000;  // more rows are not shown
  size_t bytes_of_row = 1;
  bool knows_order = false;
  bool says_next = false;

 private:
  std::vector<int64_t> page_;
};

class PageWalkTest : public ::testing::Test {
 protected:
  std::vector<int64_t> Rest(PageWalk* walk) {
    std::vector<int64_t> keys;
    while (true) {
      const absl::StatusOr<bool> row = walk->Next();
      EXPECT_THAT(row, IsOk());
      if (!row.ok() || !*row) return keys;
      keys.push_back(std::get<int64_t>(rows_.KeyAt(walk->at())));
    }
  }
  std::vector<int64_t> All() const { return {rows_.keys.begin(), rows_.keys.end()}; }

  // The key of the row that was found; 0: none.
  int64_t Find(PageWalk* walk, int64_t key) {
    const absl::StatusOr<bool> found = walk->Find(key);
    EXPECT_THAT(found, IsOk());
    return found.ok() && *found ? std::get<int64_t>(rows_.KeyAt(walk->at())) : 0;
  }

  Rows rows_{2000};
};

TEST_F(PageWalkTest, GivesEveryRowOnceInOrder) {
  for (const bool says_next : {false, true}) {
    rows_.says_next = says_next;
    PageWalk walk(&rows_, kLimits);
    EXPECT_EQ(Rest(&walk), All());
    rows_.asked.clear();
    EXPECT_THAT(walk.Next(), IsOk());
    EXPECT_THAT(rows_.asked, IsEmpty()) << "the end is known";
  }
}

TEST_F(PageWalkTest, PagesGrowAndBeginBehindTheLastRow) {
  PageWalk walk(&rows_, kLimits);
  Rest(&walk);
  EXPECT_THAT(rows_.asked,
              ElementsAre("first: 10", "behind 100: 80", "behind 900: 640", "behind 7300: 1000", "behind 17300: 1000"));
}

TEST_F(PageWalkTest, WhereTheStoreSaysHowToGoOnItIsAskedSo) {
  rows_.says_next = true;
  PageWalk walk(&rows_, kLimits);
  Rest(&walk);
  EXPECT_THAT(rows_.asked, ElementsAre("first: 10", "at 110: 80", "at 910: 640", "at 7310: 1000", "at 17310: 1000"));
}

TEST_F(PageWalkTest, APageThatIsTooMuchIsAskedForInSmallerOnes) {
  rows_.most = 100;
  PageWalk walk(&rows_, kLimits);
  EXPECT_EQ(Rest(&walk), All());
  int refused = 0;
  for (const std::string& page : rows_.asked) refused += std::stoi(page.substr(page.find(": ") + 2)) > 100 ? 1 : 0;
  EXPECT_LE(refused, 3) << "of " << rows_.asked.size();
  rows_.most = 0;
  rows_.asked.clear();
  walk.Seek({});
  EXPECT_THAT(walk.Next(), HasError(absl::StatusCode::kDeadlineExceeded, "too slow"));
  rows_.most = 5;
  EXPECT_EQ(Rest(&walk), All()) << "the same call again";
}

TEST_F(PageWalkTest, AnAnswerThatIsCutIsNotTheEnd) {
  rows_.shown = 7;
  PageWalk walk(&rows_, kLimits);
  EXPECT_EQ(Rest(&walk), All());
}

TEST_F(PageWalkTest, AfterAnErrorTheSamePageComes) {
  PageWalk walk(&rows_, kLimits);
  std::vector<int64_t> keys;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(*walk.Next());
    keys.push_back(std::get<int64_t>(rows_.KeyAt(walk.at())));
  }
  rows_.failure = absl::UnavailableError("away");
  EXPECT_THAT(walk.Next(), HasError(absl::StatusCode::kUnavailable, "away"));
  EXPECT_THAT(walk.Next(), HasError(absl::StatusCode::kUnavailable, "away"));
  rows_.failure = absl::OkStatus();
  for (const int64_t key : Rest(&walk)) keys.push_back(key);
  EXPECT_EQ(keys, All());
}

TEST_F(PageWalkTest, RowsThatComeAndGoShiftNothing) {
  PageWalk walk(&rows_, kLimits);
  std::vector<int64_t> keys;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(*walk.Next());
    keys.push_back(std::get<int64_t>(rows_.KeyAt(walk.at())));
  }
  rows_.keys.erase(100);
  rows_.keys.insert(5);
  rows_.keys.insert(101);
  const std::vector<int64_t> rest = Rest(&walk);
  EXPECT_EQ(rest.front(), 101);
  EXPECT_EQ(rest.size(), 1991u);
}

TEST_F(PageWalkTest, SeeksAtAndBehind) {
  PageWalk walk(&rows_, kLimits);
  walk.Seek({PageStart::From::kAt, int64_t{19990}});
  EXPECT_THAT(Rest(&walk), ElementsAre(19990, 20000));
  walk.Seek({PageStart::From::kBehind, int64_t{19990}});
  EXPECT_THAT(Rest(&walk), ElementsAre(20000));
  walk.Seek({PageStart::From::kAt, int64_t{19995}});
  EXPECT_THAT(Rest(&walk), ElementsAre(20000));
  walk.Seek({PageStart::From::kBehind, int64_t{20000}});
  EXPECT_THAT(Rest(&walk), IsEmpty());
  walk.Seek({});
  EXPECT_EQ(Rest(&walk).size(), 2000u);
}

TEST_F(PageWalkTest, FindsInOrderWithFewQuestions) {
  PageWalk walk(&rows_, kLimits);
  for (int64_t key = 10; key <= 20000; key += 10) ASSERT_EQ(Find(&walk, key), key);
  EXPECT_LE(rows_.asked.size(), 50u);
  EXPECT_EQ(Find(&walk, 15), 0);
  EXPECT_EQ(Rest(&walk).front(), 20) << "Next() goes on behind the key";
}

TEST_F(PageWalkTest, InAnotherOrderNoRowIsReadThatNobodyAsksFor) {
  PageWalk walk(&rows_, kLimits);
  for (int64_t key = 10; key <= 1000; key += 10) ASSERT_EQ(Find(&walk, key), key);
  rows_.asked.clear();
  for (int64_t key = 20000; key > 19000; key -= 10) ASSERT_EQ(Find(&walk, key), key);
  rows_.asked.erase(rows_.asked.begin());
  EXPECT_THAT(rows_.asked, Each(AllOf(::testing::StartsWith("at "),
                                      ::testing::AnyOf(::testing::EndsWith(": 1"), ::testing::EndsWith(": 2")))));
}

TEST_F(PageWalkTest, AtTheEndEarlierKeysAreStillFound) {
  for (const bool knows_order : {false, true}) {
    rows_.knows_order = knows_order;
    PageWalk walk(&rows_, kLimits);
    EXPECT_EQ(Find(&walk, 20000), 20000);
    EXPECT_EQ(Find(&walk, 20010), 0);
    EXPECT_EQ(Find(&walk, 50), 50);
    EXPECT_EQ(Find(&walk, 20000), 20000);
    EXPECT_EQ(Find(&walk, 40), 40) << knows_order;
  }
}

TEST_F(PageWalkTest, WhatIsFoundTwiceIsReadTwice) {
  PageWalk walk(&rows_, kLimits);
  EXPECT_EQ(Find(&walk, 20), 20);
  rows_.keys.erase(20);
  EXPECT_EQ(Find(&walk, 20), 0) << "not from the page";
}

TEST_F(PageWalkTest, RowsThatAreGoneCostNoQuestionWhereTheOrderIsKnown) {
  for (int64_t key = 110; key <= 20000; key += 10) {
    if (key % 70 != 0) rows_.keys.erase(key);
  }
  std::map<bool, size_t> asked;
  for (const bool knows_order : {false, true}) {
    rows_.knows_order = knows_order;
    rows_.asked.clear();
    PageWalk walk(&rows_, kLimits);
    for (int64_t key = 10; key <= 20000; key += 10) ASSERT_EQ(Find(&walk, key), rows_.keys.count(key) > 0 ? key : 0);
    asked[knows_order] = rows_.asked.size();
    EXPECT_EQ(Find(&walk, 19999), 0);
    EXPECT_THAT(Rest(&walk), ElementsAre()) << "70 does not divide 20000";
  }
  EXPECT_LE(asked[true], 20u);
  EXPECT_GE(asked[false], 1000u);
}

TEST_F(PageWalkTest, BehindACoveredKeyTheWalkGoesOn) {
  rows_.knows_order = true;
  PageWalk walk(&rows_, kLimits);
  for (int64_t key = 10; key <= 100; key += 10) ASSERT_EQ(Find(&walk, key), key);
  ASSERT_EQ(Find(&walk, 110), 110);
  rows_.asked.clear();
  EXPECT_EQ(Find(&walk, 125), 0);
  EXPECT_THAT(rows_.asked, IsEmpty());
  ASSERT_TRUE(*walk.Next());
  EXPECT_EQ(rows_.KeyAt(walk.at()), KeyView(int64_t{130}));
}

}  // namespace
}  // namespace reembed
