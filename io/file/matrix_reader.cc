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
#include "io/file/sink_checks.h"

namespace reembed {
namespace {

constexpr int64_t kBlockBytes = int64_t{256} << 10;

class FileRows final : public VectorRows {
 public:
  FileRows(File file, const MatrixShape& shape, const OutputForm& form)
      : file_(std::move(file)), shape_(shape), form_(form) {}

  absl::Status Read(int64_t first, int64_t rows, float* to) override {
    const int64_t row_bytes = OutputRowBytes(form_.type, shape_.dim);
    const int64_t offset = shape_.data_offset + first * row_bytes;
    const auto bytes = static_cast<size_t>(rows * row_bytes);
    const bool as_it_is = form_.type == OutputType::kFloat32;
    if (!as_it_is) encoded_.resize(bytes);
    char* const raw = as_it_is ? reinterpret_cast<char*>(to) : encoded_.data();
    ABSL_ASSIGN_OR_RETURN(const size_t read, file_.ReadAt(offset, absl::MakeSpan(raw, bytes)));
    if (read == bytes) {
      for (int64_t row = 0; !as_it_is && row < rows; ++row) {
        DecodeOutput(form_, raw + row * row_bytes,
                     absl::MakeSpan(to + row * shape_.dim, static_cast<size_t>(shape_.dim)));
      }
      return absl::OkStatus();
    }
    return absl::DataLossError(absl::StrCat(file_.path(), ": row ", first, ": expected ", bytes, " bytes at byte ",
                                            offset, ", got ", read, "; the file became shorter"));
  }

 private:
  const File file_;
  const MatrixShape shape_;
  const OutputForm form_;
  std::vector<char> encoded_;
};

class MatrixReader final : public VectorReader {
 public:
  MatrixReader(std::unique_ptr<VectorRows> vectors, std::unique_ptr<KeyColumn> keys, int64_t rows, int dim,
               const OutputForm& form)
      : vectors_(std::move(vectors)),
        keys_(std::move(keys)),
        rows_(rows),
        dim_(dim),
        form_(form),
        block_rows_(std::max<int64_t>(1, kBlockBytes / (int64_t{4} * dim))) {}

  int dim() const override { return dim_; }
  int64_t rows() const override { return rows_; }

  void Round(absl::Span<float> vector) const override { RoundLikeOutput(form_, vector); }

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
  const OutputForm form_;
  const int64_t block_rows_;
  int64_t next_ = 0;
  std::vector<float> block_;  // rows [block_begin_, block_end_)
  int64_t block_begin_ = 0;
  int64_t block_end_ = 0;
};

absl::Status CheckShape(const MatrixShape& shape, OutputType type, const File& file) {
  if (shape.dim < 1 || shape.dim > kMaxDim) {
    return absl::DataLossError(
        absl::StrCat(file.path(), ": expected a width of 1 to ", kMaxDim, " in the header, got ", shape.dim));
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t size, file.Size());
  const int64_t data_bytes = size - shape.data_offset;
  // Compared as rows: rows times width may overflow.
  const int64_t row_bytes = OutputRowBytes(type, shape.dim);
  if (data_bytes % row_bytes == 0 && data_bytes / row_bytes == shape.rows) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(file.path(), ": expected ", shape.rows, " rows of ", shape.dim,
                                          " numbers as the header says, of ", OutputTypeName(type), ", got ",
                                          data_bytes, " bytes of rows"));
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenMatrixReader(const MatrixFormat& format, const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters(kOutputParameters));
  ABSL_ASSIGN_OR_RETURN(OutputForm form, OutputFormOf(location));
  ABSL_ASSIGN_OR_RETURN(File file, File::OpenToRead(location.path));
  ABSL_ASSIGN_OR_RETURN(const MatrixShape shape, ReadMatrixHeader(format, file));
  if (location.Get("type").empty()) {
    const auto named = format.type_of_name == nullptr ? std::nullopt : format.type_of_name(location.path);
    form.type = shape.type.value_or(named.value_or(OutputType::kFloat32));
  } else if (shape.type.value_or(form.type) != form.type) {
    return absl::InvalidArgumentError(absl::StrCat(location.path, ": expected rows of ", OutputTypeName(form.type),
                                                   " as type= says, got ", OutputTypeName(*shape.type)));
  }
  ABSL_RETURN_IF_ERROR(CheckShape(shape, form.type, file));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<KeyColumn> keys, OpenKeySidecar(location.path, shape.rows));
  return MakeMatrixReader(std::make_unique<FileRows>(std::move(file), shape, form), std::move(keys), shape.rows,
                          static_cast<int>(shape.dim), form);
}

}  // namespace

std::unique_ptr<VectorReader> MakeMatrixReader(std::unique_ptr<VectorRows> vectors, std::unique_ptr<KeyColumn> keys,
                                               int64_t rows, int dim, const OutputForm& form) {
  return std::make_unique<MatrixReader>(std::move(vectors), std::move(keys), rows, dim, form);
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenFbinReader(const Location& location) {
  return OpenMatrixReader(kFbinFormat, location);
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenNpyReader(const Location& location) {
  return OpenMatrixReader(kNpyFormat, location);
}

}  // namespace reembed
