// SPDX-License-Identifier: Apache-2.0
#include "index/row_set.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/file_size_limit.h"
#include "tests/index/index_fixture.h"

namespace reembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Gives rows with whatever keys and widths.
class OddReader final : public VectorReader {
 public:
  struct Row {
    Key key;
    std::vector<float> vector;
  };
  OddReader(int dim, std::vector<Row> rows) : dim_(dim), rows_(std::move(rows)) {}
  int dim() const override { return dim_; }
  int64_t rows() const override { return static_cast<int64_t>(rows_.size()); }
  absl::StatusOr<std::optional<StoredVector>> Next() override {
    if (next_ == rows_.size()) return std::nullopt;
    const Row& row = rows_[next_++];
    return StoredVector{ViewOf(row.key), row.vector};
  }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView) override { return std::nullopt; }

 private:
  const int dim_;
  const std::vector<Row> rows_;
  size_t next_ = 0;
};

class RowSetTest : public IndexTest {
 protected:
  static absl::Status Ignore(int64_t) { return absl::OkStatus(); }

  absl::StatusOr<RowSet> Read(std::vector<OddReader::Row> rows, const RowSetOptions& options) const {
    OddReader reader(2, std::move(rows));
    return RowSet::Read(&reader, "place", options, Ignore);
  }
};

TEST_F(RowSetTest, ReadsTheSameIntoMemoryAndIntoAFile) {
  const std::vector<float> matrix = ClusteredRows(3000, 100, 7);
  MemoryReader in_memory(matrix, 100), into_file(matrix, 100);
  const auto a = RowSet::Read(&in_memory, "place", {.metric = Metric::kL2}, Ignore);
  const auto b = RowSet::Read(&into_file, "place", {.metric = Metric::kL2, .beside = path("x")}, Ignore);
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  EXPECT_EQ(std::vector<float>(a->vectors().begin(), a->vectors().end()), matrix);
  EXPECT_EQ(std::vector<float>(b->vectors().begin(), b->vectors().end()), matrix);
  EXPECT_EQ(a->fingerprint(), b->fingerprint());
  EXPECT_EQ(b->rows(), 3000);
  EXPECT_EQ(b->ids()[2999], 2999);
  EXPECT_TRUE(std::filesystem::is_empty(std::filesystem::path(path()).parent_path())) << "the file has no name";
}

TEST_F(RowSetTest, CosineScalesRowsAndTheFingerprintIsOfTheRowsAsTheyWere) {
  const auto cosine = Read({{int64_t{1}, {3, 4}}}, {.metric = Metric::kCosine});
  const auto ip = Read({{int64_t{1}, {3, 4}}}, {.metric = Metric::kInnerProduct});
  ASSERT_THAT(cosine, IsOk());
  EXPECT_NEAR(cosine->vectors()[0], 0.6, 1e-6);
  EXPECT_EQ(ip->vectors()[0], 3);
  EXPECT_EQ(cosine->fingerprint(), ip->fingerprint());
  EXPECT_NE(Read({{int64_t{2}, {3, 4}}}, {})->fingerprint(), cosine->fingerprint()) << "the key counts";
}

TEST_F(RowSetTest, TextKeysBecomeNumbersAndLines) {
  const auto rows = Read({{"a", {1, 0}}, {"b", {0, 1}}}, {});
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ(rows->id_kind(), IdKind::kOrdinal);
  EXPECT_THAT(rows->ids(), ElementsAre(0, 1));
  EXPECT_EQ(rows->key_lines(), "{\"id\":0,\"key\":\"a\"}\n{\"id\":1,\"key\":\"b\"}\n");
}

TEST_F(RowSetTest, WhatNoIndexHoldsIsNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto refused = [&](std::vector<OddReader::Row> rows, const std::string& words) {
    EXPECT_THAT(Read(std::move(rows), {}), HasError(absl::StatusCode::kInvalidArgument, HasSubstr(words)));
  };
  refused({}, "place: expected rows with vectors, got none");
  refused({{int64_t{5}, {1, 0}}, {int64_t{6}, {0, 0}}},
          "place: row 6: expected a vector with a direction, got only zeros");
  refused({{int64_t{5}, {1, nan}}},
          "place: row 5: expected a vector with a direction, got a number that is not finite");
  refused({{int64_t{5}, {1, 0}}, {int64_t{6}, {1, 0, 0}}},
          "row 6: expected a vector of 2 numbers, like the rows before, got 3");
  refused({{int64_t{5}, {1, 0}}, {"b", {1, 0}}}, "row b: expected an integer as a key");
  refused({{int64_t{-5}, {1, 0}}}, "row -5: expected a key of at least 0");
  refused({{int64_t{5}, {1, 0}}, {int64_t{9}, {1, 0}}, {int64_t{7}, {1, 0}}, {int64_t{5}, {1, 1}}},
          "row 5: an earlier row");
}

TEST_F(RowSetTest, UnusableRowsArePassedOverWhereThatIsAskedFor) {
  const float inf = std::numeric_limits<float>::infinity();
  const auto rows = Read({{int64_t{5}, {0, 0}}, {int64_t{6}, {1, 0}}, {int64_t{7}, {inf, 0}}}, {.skip_unusable = true});
  ASSERT_THAT(rows, IsOk());
  EXPECT_THAT(rows->ids(), ElementsAre(6));
  EXPECT_EQ(rows->passed_over(), 2);
  EXPECT_THAT(rows->first_fault(), HasSubstr("row 5: "));
  EXPECT_THAT(Read({{int64_t{5}, {0, 0}}}, {.skip_unusable = true}),
              HasError(absl::StatusCode::kInvalidArgument, HasSubstr("got none that an index can hold: place: row 5")));
}

TEST_F(RowSetTest, AFullDiskIsTold) {
  MemoryReader reader(ClusteredRows(2000, 1000, 1), 1000);
  const FileSizeLimit limit(1 << 20);
  EXPECT_THAT(RowSet::Read(&reader, "place", {.beside = path("x")}, Ignore),
              HasError(absl::StatusCode::kResourceExhausted, HasSubstr("x.rows: cannot write")));
}

TEST_F(RowSetTest, DrawsWithoutRepeatAndTheSameForASeed) {
  MemoryReader reader(ClusteredRows(1000, 2, 1), 2);
  const auto rows = RowSet::Read(&reader, "place", {.metric = Metric::kL2}, Ignore);
  ASSERT_THAT(rows, IsOk());
  const std::vector<int64_t> drawn = rows->Draw(100, 3);
  EXPECT_EQ(std::set<int64_t>(drawn.begin(), drawn.end()).size(), 100u);
  EXPECT_TRUE(std::is_sorted(drawn.begin(), drawn.end()));
  EXPECT_EQ(rows->Draw(100, 3), drawn);
  EXPECT_NE(rows->Draw(100, 4), drawn);
  EXPECT_EQ(rows->Draw(5000, 3).size(), 1000u);
  // Of the whole set: each tenth of the rows has some.
  std::set<int64_t> tenths;
  for (const int64_t row : drawn) tenths.insert(row / 100);
  EXPECT_EQ(tenths.size(), 10u);
  EXPECT_EQ(rows->Gather(drawn).size(), 200u);
  EXPECT_EQ(rows->Gather(drawn)[2], rows->vector(drawn[1])[0]);
}

}  // namespace
}  // namespace reembed
