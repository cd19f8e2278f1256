// SPDX-License-Identifier: Apache-2.0
#include "engine/finite_reader.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/status_matchers.h"

namespace reembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Rows with the keys 0, 1, 2, ...
class VectorsInMemory final : public VectorReader {
 public:
  explicit VectorsInMemory(std::vector<std::vector<float>> vectors) : vectors_(std::move(vectors)) {}

  int dim() const override { return static_cast<int>(vectors_[0].size()); }
  int64_t rows() const override { return static_cast<int64_t>(vectors_.size()); }
  absl::StatusOr<std::optional<StoredVector>> Next() override { return Find(next_); }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    const int64_t row = std::get<int64_t>(key);
    next_ = row + 1;
    if (row < 0 || row >= rows()) return std::nullopt;
    return StoredVector{row, vectors_[row]};
  }
  void Round(absl::Span<float> vector) const override { vector[0] = 7; }

 private:
  std::vector<std::vector<float>> vectors_;
  int64_t next_ = 0;
};

TEST(FiniteReaderTest, ARowThatIsNotFiniteIsNamedAndTheNextIsRead) {
  for (const float odd : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    std::vector<float> last_number(33, 0.5f);
    last_number.back() = odd;
    const auto reader = MakeFiniteReader(
        std::make_unique<VectorsInMemory>(std::vector{std::vector<float>(33, 0), last_number, std::vector(33, 1e38f)}),
        "out.fbin");
    const auto names_it =
        HasError(absl::StatusCode::kDataLoss, AllOf(HasSubstr("out.fbin: row 1: "), HasSubstr("NaN")));
    EXPECT_EQ(reader->Next()->value().key, KeyView(int64_t{0}));
    EXPECT_THAT(reader->Next(), names_it);
    EXPECT_EQ(reader->Next()->value().key, KeyView(int64_t{2}));
    EXPECT_FALSE(reader->Next()->has_value());
    EXPECT_THAT(reader->Find(int64_t{1}), names_it);
    EXPECT_EQ(reader->Find(int64_t{2})->value().vector[32], 1e38f);
    EXPECT_FALSE(reader->Find(int64_t{3})->has_value());
  }
}

TEST(FiniteReaderTest, TheRestIsTheReadersOwn) {
  const auto reader =
      MakeFiniteReader(std::make_unique<VectorsInMemory>(std::vector<std::vector<float>>{{1, 2}, {3, 4}}), "x");
  EXPECT_EQ(reader->dim(), 2);
  EXPECT_EQ(reader->rows(), 2);
  std::vector<float> vector = {1, 2};
  reader->Round(absl::MakeSpan(vector));
  EXPECT_EQ(vector[0], 7);
}

}  // namespace
}  // namespace reembed
