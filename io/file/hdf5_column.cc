// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_column.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

constexpr int64_t kBlockRows = 4096;

absl::Status KindError(const Hdf5Dataset& dataset, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(dataset.name(), ": expected one dimension of ", expected, ", got ",
                                                 dataset.shape().dimensions, " of ", NameOf(dataset.shape().kind)));
}

class IntegerKeys final : public KeyColumn {
 public:
  explicit IntegerKeys(std::unique_ptr<Hdf5Dataset> dataset) : dataset_(std::move(dataset)) {}

  absl::StatusOr<KeyView> At(int64_t row) override {
    if (row < first_ || row >= first_ + static_cast<int64_t>(block_.size())) {
      const int64_t rows = std::min(kBlockRows, dataset_->shape().rows - row);
      block_.resize(static_cast<size_t>(rows));
      first_ = row;
      if (absl::Status status = dataset_->Read(row, absl::MakeSpan(block_)); !status.ok()) {
        block_.clear();
        return status;
      }
    }
    return KeyView(block_[static_cast<size_t>(row - first_)]);
  }

 private:
  const std::unique_ptr<Hdf5Dataset> dataset_;
  int64_t first_ = 0;  // row of the block
  std::vector<int64_t> block_;
};

// Whether all integers of the dataset are keys. Eight bytes a row, so it is asked before anything is bought.
absl::Status CheckKeysFit(const Hdf5Dataset& dataset) {
  if (!dataset.shape().is_uint64) return absl::OkStatus();
  std::vector<int64_t> block;
  for (int64_t row = 0; row < dataset.shape().rows; row += kBlockRows) {
    block.resize(static_cast<size_t>(std::min(kBlockRows, dataset.shape().rows - row)));
    ABSL_RETURN_IF_ERROR(dataset.Read(row, absl::MakeSpan(block)));
    const auto beyond = std::find_if(block.begin(), block.end(), [](int64_t key) { return key < 0; });
    if (beyond == block.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat(dataset.name(), ": expected keys below 2^63, got ",
                                                   static_cast<uint64_t>(*beyond), " in row ",
                                                   row + (beyond - block.begin()), "; write them as strings"));
  }
  return absl::OkStatus();
}

class TextKeys final : public KeyColumn {
 public:
  explicit TextKeys(std::unique_ptr<Hdf5TextColumn> texts) : texts_(std::move(texts)) {}

  absl::StatusOr<KeyView> At(int64_t row) override {
    ABSL_ASSIGN_OR_RETURN(const absl::string_view text, texts_->At(row));
    return KeyView(text);
  }

 private:
  const std::unique_ptr<Hdf5TextColumn> texts_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Hdf5TextColumn>> Hdf5TextColumn::Make(std::unique_ptr<Hdf5Dataset> dataset) {
  const Hdf5Dataset::Shape& shape = dataset->shape();
  if (shape.dimensions != 1 || shape.kind != Hdf5Kind::kTexts) return KindError(*dataset, "strings");
  return std::unique_ptr<Hdf5TextColumn>(new Hdf5TextColumn(std::move(dataset)));
}

absl::StatusOr<absl::string_view> Hdf5TextColumn::At(int64_t row) {
  if (row < first_ || row >= first_ + block_.size()) {
    block_ = Hdf5TextBlock();
    ABSL_ASSIGN_OR_RETURN(block_, dataset_->ReadTexts(row, std::min(kBlockRows, rows() - row)));
    first_ = row;
  }
  return block_[row - first_];
}

absl::StatusOr<std::unique_ptr<KeyColumn>> MakeHdf5KeyColumn(std::unique_ptr<Hdf5Dataset> dataset) {
  const Hdf5Dataset::Shape& shape = dataset->shape();
  if (shape.dimensions == 1 && shape.kind == Hdf5Kind::kIntegers) {
    ABSL_RETURN_IF_ERROR(CheckKeysFit(*dataset));
    return std::make_unique<IntegerKeys>(std::move(dataset));
  }
  if (shape.dimensions != 1 || shape.kind != Hdf5Kind::kTexts) return KindError(*dataset, "integers or strings");
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5TextColumn> texts, Hdf5TextColumn::Make(std::move(dataset)));
  return std::make_unique<TextKeys>(std::move(texts));
}

}  // namespace reembed
