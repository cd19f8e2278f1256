// SPDX-License-Identifier: Apache-2.0
#include "engine/even_cuts.h"

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

// Cuts the rows at these places; returns how many looks that took.
int Cut(const std::vector<absl::uint128>& rows, int shares, std::vector<absl::uint128>* cuts) {
  int looks = 0;
  const auto places = [&](absl::uint128 from, size_t most) -> absl::StatusOr<std::vector<absl::uint128>> {
    ++looks;
    const auto first = std::lower_bound(rows.begin(), rows.end(), from);
    const auto count = std::min<ptrdiff_t>(static_cast<ptrdiff_t>(most), rows.end() - first);
    return std::vector<absl::uint128>(first, first + count);
  };
  auto made = CutEvenly(shares, places);
  EXPECT_THAT(made, IsOk());
  *cuts = *std::move(made);
  return looks;
}

// The largest share, in even shares.
double LargestShare(const std::vector<absl::uint128>& rows, int shares, int* looks) {
  std::vector<absl::uint128> cuts;
  *looks = Cut(rows, shares, &cuts);
  EXPECT_EQ(cuts.size(), static_cast<size_t>(shares) - 1);
  EXPECT_TRUE(std::is_sorted(cuts.begin(), cuts.end()));
  ptrdiff_t largest = 0, before = 0;
  for (size_t i = 0; i <= cuts.size(); ++i) {
    const ptrdiff_t end = i < cuts.size() ? std::lower_bound(rows.begin(), rows.end(), cuts[i]) - rows.begin()
                                          : static_cast<ptrdiff_t>(rows.size());
    largest = std::max(largest, end - before);
    before = end;
  }
  return static_cast<double>(largest) * shares / static_cast<double>(rows.size());
}

std::vector<absl::uint128> Sorted(std::vector<absl::uint128> rows) {
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

TEST(EvenCutsTest, SharesOfDenseSparseAndLumpyKeysAreEven) {
  std::mt19937_64 random(7);
  std::vector<absl::uint128> dense, wide, lumpy, halves;
  for (int i = 0; i < 40000; ++i) {
    dense.push_back(PlaceOfInteger(i));
    wide.push_back(PlaceOfInteger(static_cast<int64_t>(random())));
    lumpy.push_back(PlaceOfInteger(static_cast<int64_t>(random() % 5) * 1000000007 * 1000003 + i));
    halves.push_back(i % 2 == 0 ? absl::MakeUint128(1, random()) : PlaceOfInteger(i));
  }
  lumpy.push_back(PlaceOfInteger(std::numeric_limits<int64_t>::max()));
  lumpy.push_back(PlaceOfInteger(std::numeric_limits<int64_t>::min()));
  for (const int shares : {2, 7, 32}) {
    for (const auto& rows : {dense, wide, Sorted(lumpy), halves}) {
      int looks = 0;
      EXPECT_LT(LargestShare(Sorted(rows), shares, &looks), 1.15) << shares << " shares";
      EXPECT_LT(looks, 2 * std::max(512, 32 * shares) + shares);
    }
  }
}

TEST(EvenCutsTest, FewRowsAreSharedToTheRow) {
  std::vector<absl::uint128> rows;
  for (int i = 0; i < 12; ++i) rows.push_back(PlaceOfInteger(i * i * 1000 - 50));
  std::vector<absl::uint128> cuts;
  Cut(rows, 4, &cuts);
  EXPECT_EQ(cuts, (std::vector<absl::uint128>{rows[3], rows[6], rows[9]}));
}

TEST(EvenCutsTest, FewerRowsThanSharesOrNone) {
  std::vector<absl::uint128> cuts;
  Cut({}, 3, &cuts);
  EXPECT_EQ(cuts, (std::vector<absl::uint128>{0, 0}));
  Cut({5}, 3, &cuts);
  EXPECT_EQ(cuts, (std::vector<absl::uint128>{5, 5}));
  Cut({5, 6}, 1, &cuts);
  EXPECT_TRUE(cuts.empty());
}

TEST(EvenCutsTest, AWalkKeepsFewKeys) {
  ThinnedKeys keys(4);
  for (int64_t i = 0; i < 1000000; ++i) keys.Add(i);
  const std::vector<Key> cuts = keys.Cut(4);
  ASSERT_EQ(cuts.size(), 3u);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(static_cast<double>(std::get<int64_t>(cuts[static_cast<size_t>(i)])), 250000.0 * (i + 1), 5000);
  }
}

}  // namespace
}  // namespace reembed
