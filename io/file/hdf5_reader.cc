// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_reader.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"
#include "io/file/hdf5_column.h"
#include "io/file/hdf5_file.h"
#include "io/file/hdf5_trial.h"
#include "io/file/key_column.h"
#include "io/file/sink_checks.h"

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
  Hdf5Reader(std::unique_ptr<Hdf5File> file, std::unique_ptr<Hdf5Dataset> train, std::unique_ptr<KeyColumn> keys,
             const OutputForm& form)
      : file_(std::move(file)),
        train_(std::move(train)),
        keys_(std::move(keys)),
        form_(form),
        block_rows_(BlockRows(train_->shape())) {}

  int dim() const override {
    return static_cast<int>(train_->shape().columns * (form_.type == OutputType::kBinary ? 8 : 1));
  }
  int64_t rows() const override { return train_->shape().rows; }

  void Round(absl::Span<float> vector) const override { RoundLikeOutput(form_, vector); }

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
      ABSL_RETURN_IF_ERROR(ReadRows(first));
      first_ = first;
    }
    return StoredVector{.key = key,
                        .vector = absl::MakeSpan(block_).subspan(static_cast<size_t>(row - first) * width, width)};
  }

  // The block. The library converts other floats than these, too, and knows nothing of scales and bits.
  absl::Status ReadRows(int64_t first) {
    if (form_.type != OutputType::kInt8 && form_.type != OutputType::kBinary) {
      return train_->Read(first, absl::MakeSpan(block_));
    }
    const auto width = static_cast<size_t>(dim());
    const auto rows = static_cast<int64_t>(block_.size() / width);
    const int64_t row_bytes = OutputRowBytes(form_.type, dim());
    bytes_.resize(static_cast<size_t>(rows * row_bytes));
    ABSL_RETURN_IF_ERROR(train_->ReadBytes(first, rows, bytes_.data()));
    for (int64_t row = 0; row < rows; ++row) {
      DecodeOutput(form_, bytes_.data() + row * row_bytes,
                   absl::MakeSpan(block_).subspan(static_cast<size_t>(row) * width, width));
    }
    return absl::OkStatus();
  }

  const std::unique_ptr<Hdf5File> file_;
  const std::unique_ptr<Hdf5Dataset> train_;
  const std::unique_ptr<KeyColumn> keys_;
  const OutputForm form_;
  const int64_t block_rows_;
  int64_t next_ = 0;          // <= rows()
  int64_t first_ = -1;        // row of the block; -1: nothing is in it
  std::vector<float> block_;  // [at most block_rows_, dim()]
  std::vector<char> bytes_;   // of int8 and bits, as they lie in the file
};

absl::StatusOr<std::unique_ptr<VectorReader>> Open(const Location& location) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5File> file, Hdf5File::Open(location.path, Hdf5File::Access::kRead));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5Dataset> train, file->Dataset("train"));
  const Hdf5Dataset::Shape& shape = train->shape();
  ABSL_ASSIGN_OR_RETURN(OutputForm form, OutputFormOf(location));
  const bool says_type = !location.Get("type").empty();
  // Bytes that are no bits, as others store images, are known from bits by the address alone.
  const bool holds_vectors = shape.kind == Hdf5Kind::kFloats || shape.output == OutputType::kInt8 ||
                             (shape.output == OutputType::kBinary && form.type == OutputType::kBinary);
  if (says_type && shape.output != form.type) {
    return absl::InvalidArgumentError(
        absl::StrCat(train->name(), ": expected rows of ", OutputTypeName(form.type), " as type= says, got ",
                     shape.output.has_value() ? OutputTypeName(*shape.output) : absl::string_view("another type")));
  }
  if (!says_type) form.type = shape.output.value_or(OutputType::kFloat32);
  if (shape.dimensions != 2 || !holds_vectors) {
    return absl::InvalidArgumentError(absl::StrCat(train->name(), ": expected two dimensions of floats, got ",
                                                   shape.dimensions, " of ", NameOf(shape.kind)));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Hdf5Dataset> dataset, file->DatasetOrNull("keys"));
  if (dataset == nullptr) return std::make_unique<Hdf5Reader>(std::move(file), std::move(train), nullptr, form);
  if (dataset->shape().rows != shape.rows) {
    return absl::DataLossError(absl::StrCat(dataset->name(), ": expected a key for each of ", shape.rows,
                                            " vectors, got ", dataset->shape().rows));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<KeyColumn> keys, MakeHdf5KeyColumn(std::move(dataset)));
  return std::make_unique<Hdf5Reader>(std::move(file), std::move(train), std::move(keys), form);
}

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenHdf5Reader(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters(kOutputParameters));
  ABSL_RETURN_IF_ERROR(TryHdf5(location.path, [&location](bool all) {
    const absl::StatusOr<std::unique_ptr<VectorReader>> reader = Open(location);
    if (!reader.ok()) return;
    absl::StatusOr<std::optional<StoredVector>> row = (*reader)->Next();
    while (all && row.ok() && row->has_value()) row = (*reader)->Next();
  }));
  return Open(location);
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenUntriedHdf5Reader(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters(kOutputParameters));
  return Open(location);
}

}  // namespace reembed
