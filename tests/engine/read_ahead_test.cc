// SPDX-License-Identifier: Apache-2.0
#include "engine/read_ahead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "absl/status/status.h"

namespace reembed {
namespace {

struct Page {
  std::vector<int> rows;
  void Clear() { rows.clear(); }
};

TEST(ReadAheadTest, GivesEveryPageInOrder) {
  int next = 0;
  ReadAhead<Page> pages([&](Page* page) -> absl::StatusOr<bool> {
    EXPECT_TRUE(page->rows.empty());
    for (int i = 0; i < 3 && next < 100; ++i) page->rows.push_back(next++);
    return next < 100;
  });
  std::vector<int> seen;
  Page page{{-1}};
  absl::StatusOr<bool> more = pages.Next(&page);
  for (; more.ok() && *more; more = pages.Next(&page)) seen.insert(seen.end(), page.rows.begin(), page.rows.end());
  ASSERT_TRUE(more.ok()) << more.status();
  EXPECT_TRUE(page.rows.empty());
  ASSERT_EQ(seen.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[i], i);
  EXPECT_FALSE(*pages.Next(&page)) << "the end stays the end";
}

TEST(ReadAheadTest, AnErrorComesBehindWhatWasReadBeforeIt) {
  int calls = 0;
  ReadAhead<Page> pages([&](Page* page) -> absl::StatusOr<bool> {
    page->rows.push_back(++calls);
    if (calls == 3) return absl::DataLossError("the third page is damaged");
    return true;
  });
  Page page;
  std::vector<int> seen;
  absl::StatusOr<bool> more = pages.Next(&page);
  for (; more.ok() && *more; more = pages.Next(&page)) seen.push_back(page.rows.at(0));
  EXPECT_THAT(seen, testing::ElementsAre(1, 2, 3)) << "the rows in front of the damage count";
  EXPECT_TRUE(absl::IsDataLoss(more.status()));
  EXPECT_TRUE(absl::IsDataLoss(pages.Next(&page).status())) << "an error stays one";
}

TEST(ReadAheadTest, WhoeverStopsReadingEndsTheThread) {
  std::atomic<int> calls = 0;
  {
    ReadAhead<Page> pages([&](Page* page) -> absl::StatusOr<bool> {
      page->rows.push_back(++calls);
      return true;  // for ever
    });
    Page page;
    ASSERT_TRUE(*pages.Next(&page));
  }
  const int after = calls;
  EXPECT_LE(after, 5) << "no more than the few pages that it is ahead";
}

}  // namespace
}  // namespace reembed
