// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_reader.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/hdf5_column.h"
#include "io/file/hdf5_file.h"
#include "io/file/hdf5_trial.h"
#include "io/file/key_column.h"

namespace reembed {
namespace {

constexpr int64_t kBlockBytes = int64_t{1} << 20;
constexpr int64_t kMaxBlockBytes = int64_t{64} << 20;

// Rows to read at once: whole chunks, so that none is read (and unpacked) twice, as long as they are not too large.
int64_t BlockRows(const Hdf5Dataset::Shape& shape) {
  const int64_t row_bytes = shape.columns * static_cast<int64_t>(sizeof(float));
  const int64_t rows = std::max<int64_t>(kBlockBytes / row_bytes, 1);
  if (shape.chunk_rows == 0 || shape.chunk_rows > kMaxBlockBytes / row_bytes) return rows;
  return std::max<int64_t>(rows / shape.chunk_rows, 1) * shape.chunk_rows;
}

class Hdf5Reader final : public VectorReader {
 public:
  // `keys` may be null.
  Hdf5Reader(std::unique_ptr<Hdf5File> file, std::unique_ptr<Hdf5Dataset> train, std::unique_ptr<KeyColumn> keys)
      : file_(std::move(file)),
        train_(std::move(train)),
        keys_(std::move(keys)),
        block_rows_(BlockRows(train_->shape())) {}

  int dim() const override { return static_cast<int>(train_->shape().columns); }
  int64_t rows() const override { return train_->shape().rows; }

  absl::StatusOr<std::optional<StoredVector>> Next() override {
    if (next_ == rows()) return std::nullopt;
    absl::StatusOr<std::optional<StoredVector>> row = RowAt(next_);
    if (row.ok()) ++next_;
    return row;
  }

  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> row, FindRow(keys_.get(), rows(), next_, key));
    if (!row.has_value()) return std::nullopt;
    next_ = *row + 1;
    return RowAt(*row);
  }

 private:
  absl::StatusOr<std::optional<StoredVector>> RowAt(int64_t row) {
    ABSL_ASSIGN_OR_RETURN(const KeyView key, KeyOfRow(keys_.get(), row));
    const auto width = static_cast<size_t>(dim());
    const int64_t first = row / block_rows_ * block_rows_;
    if (first != first_) {
      block_.resize(static_cast<size_t>(std::min(block_rows_, rows() - first)) * width);
      first_ = -1;
      ABSL_RETURN_IF_ERROR(train_->Read(first, absl::MakeSpan(block_)));
      first_ = first;
    }
    return StoredVector{.key = key,
                        .vector = absl::MakeSpan(block_).subspan(static_cast<size_t>(row - first) * width, width)};
  }

  const std::unique_ptr<Hdf5File> file_;
  const std::unique_ptr<Hdf5Dataset> train_;
  const std::unique_ptr<KeyColumn> keys_;
  const int64_t block_rows_;
  int64_t next_ = 0;          // <= rows()
  int64_t first_ = -1;        // row of the block; -1: nothing is in it
  std::vector<float> block_;  // [at most block_rows_, dim()]
};

absl::StatusOr<std::unique_ptr<VectorReader>> Open(const Location& location) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5File> file, Hdf5File::Open(location.path, Hdf5File::Access::kRead));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5Dataset> train, file->Dataset("train"));
  const Hdf5Dataset::Shape& shape = train->shape();
  if (shape.dimensions != 2 || shape.kind != Hdf5Kind::kFloats) {
    return absl::InvalidArgumentError(absl::StrCat(train->name(), ": expected two dimensions of floats, got ",
                                                   shape.dimensions, " of ", NameOf(shape.kind)));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5Dataset> dataset, file->DatasetOrNull("keys"));
  if (dataset == nullptr) return std::make_unique<Hdf5Reader>(std::move(file), std::move(train), nullptr);
  if (dataset->shape().rows != shape.rows) {
    return absl::DataLossError(absl::StrCat(dataset->name(), ": expected a key for each of ", shape.rows,
                                            " vectors, got ", dataset->shape().rows));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<KeyColumn> keys, MakeHdf5KeyColumn(std::move(dataset)));
  return std::make_unique<Hdf5Reader>(std::move(file), std::move(train), std::move(keys));
}

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenHdf5Reader(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({}));
  ABSL_RETURN_IF_ERROR(TryHdf5(location.path, [&location](bool all) {
    const absl::StatusOr<std::unique_ptr<VectorReader>> reader = Open(location);
    if (!reader.ok()) return;
    absl::StatusOr<std::optional<StoredVector>> row = (*reader)->Next();
    while (all && row.ok() && row->has_value()) row = (*reader)->Next();
  }));
  return Open(location);
}

}  // namespace reembed
