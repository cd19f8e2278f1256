// SPDX-License-Identifier: Apache-2.0
#include "io/file/matrix_reader.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/status_macros.h"
#include "io/file/key_sidecar.h"
#include "io/file/matrix_format.h"

namespace reembed {
namespace {

constexpr int64_t kBlockBytes = int64_t{256} << 10;

class FileRows final : public VectorRows {
 public:
  FileRows(File file, const MatrixShape& shape) : file_(std::move(file)), shape_(shape) {}

  absl::Status Read(int64_t first, int64_t rows, float* to) override {
    const int64_t offset = shape_.data_offset + first * RowBytes(shape_.dim);
    const size_t bytes = static_cast<size_t>(rows * RowBytes(shape_.dim));
    ABSL_ASSIGN_OR_RETURN(const size_t read, file_.ReadAt(offset, absl::MakeSpan(reinterpret_cast<char*>(to), bytes)));
    if (read == bytes) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(file_.path(), ": row ", first, ": expected ", bytes, " bytes at byte ",
                                            offset, ", got ", read, "; the file became shorter"));
  }

 private:
  const File file_;
  const MatrixShape shape_;
};

class MatrixReader final : public VectorReader {
 public:
  MatrixReader(std::unique_ptr<VectorRows> vectors, std::unique_ptr<KeyColumn> keys, int64_t rows, int dim)
      : vectors_(std::move(vectors)),
        keys_(std::move(keys)),
        rows_(rows),
        dim_(dim),
        block_rows_(std::max<int64_t>(1, kBlockBytes / RowBytes(dim))) {}

  int dim() const override { return dim_; }
  int64_t rows() const override { return rows_; }

  absl::StatusOr<std::optional<StoredVector>> Next() override {
    if (next_ >= rows_) return std::nullopt;
    return Row(next_);
  }

  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override {
    ABSL_ASSIGN_OR_RETURN(const std::optional<int64_t> row, FindRow(keys_.get(), rows_, next_, key));
    if (!row.has_value()) return std::nullopt;
    return Row(*row);
  }

 private:
  absl::StatusOr<std::optional<StoredVector>> Row(int64_t row) {
    if (row < block_begin_ || row >= block_end_) {
      const int64_t end = std::min(rows_, row + block_rows_);
      block_.resize(static_cast<size_t>(std::min(rows_, block_rows_) * dim_));
      block_end_ = block_begin_;  // nothing, should reading fail
      ABSL_RETURN_IF_ERROR(vectors_->Read(row, end - row, block_.data()));
      block_begin_ = row;
      block_end_ = end;
    }
    ABSL_ASSIGN_OR_RETURN(const KeyView key, KeyOfRow(keys_.get(), row));
    next_ = row + 1;
    const float* const vector = block_.data() + (row - block_begin_) * dim_;
    return StoredVector{.key = key, .vector = {vector, static_cast<size_t>(dim_)}};
  }

  const std::unique_ptr<VectorRows> vectors_;
  const std::unique_ptr<KeyColumn> keys_;
  const int64_t rows_;
  const int dim_;
  const int64_t block_rows_;
  int64_t next_ = 0;
  std::vector<float> block_;  // rows [block_begin_, block_end_)
  int64_t block_begin_ = 0;
  int64_t block_end_ = 0;
};

absl::Status CheckShape(const MatrixShape& shape, const File& file) {
  if (shape.dim < 1 || shape.dim > kMaxDim) {
    return absl::DataLossError(
        absl::StrCat(file.path(), ": expected a width of 1 to ", kMaxDim, " in the header, got ", shape.dim));
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t size, file.Size());
  const int64_t data_bytes = size - shape.data_offset;
  // Compared as rows: rows times width may overflow.
  if (data_bytes % RowBytes(shape.dim) == 0 && data_bytes / RowBytes(shape.dim) == shape.rows) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(file.path(), ": expected ", shape.rows, " rows of ", shape.dim,
                                          " numbers as the header says, got ", data_bytes, " bytes of rows"));
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenMatrixReader(const MatrixFormat& format, const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({}));
  ABSL_ASSIGN_OR_RETURN(File file, File::OpenToRead(location.path));
  ABSL_ASSIGN_OR_RETURN(const MatrixShape shape, ReadMatrixHeader(format, file));
  ABSL_RETURN_IF_ERROR(CheckShape(shape, file));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<KeyColumn> keys, OpenKeySidecar(location.path, shape.rows));
  return MakeMatrixReader(std::make_unique<FileRows>(std::move(file), shape), std::move(keys), shape.rows,
                          static_cast<int>(shape.dim));
}

}  // namespace

std::unique_ptr<VectorReader> MakeMatrixReader(std::unique_ptr<VectorRows> vectors, std::unique_ptr<KeyColumn> keys,
                                               int64_t rows, int dim) {
  return std::make_unique<MatrixReader>(std::move(vectors), std::move(keys), rows, dim);
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenFbinReader(const Location& location) {
  return OpenMatrixReader(kFbinFormat, location);
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenNpyReader(const Location& location) {
  return OpenMatrixReader(kNpyFormat, location);
}

}  // namespace reembed
