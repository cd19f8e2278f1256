// SPDX-License-Identifier: Apache-2.0
#include "io/file/matrix_file_sink.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "engine/output_form.h"
#include "engine/status_macros.h"
#include "io/file/growing_file.h"
#include "io/file/key_sidecar.h"
#include "io/file/sink_checks.h"

namespace reembed {
namespace {

constexpr size_t kVectors = 0;
constexpr size_t kKeys = 1;

class MatrixFileSink final : public VectorSink {
 public:
  MatrixFileSink(const MatrixFormat& format, const std::string& path, int dim, const OutputForm& form)
      : format_(format),
        path_(path),
        dim_(dim),
        form_(form),
        files_({Matrix(format, path, dim, form.type), GrowingKeySidecar(path)}) {}

  RowOrder row_order() const override { return RowOrder::kAscending; }

  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override {
    ABSL_RETURN_IF_ERROR(CheckRows(context.expected_rows));
    absl::StatusOr<int64_t> position = files_.Open(last);
    if (position.ok()) rows_ = *position > 0 ? last.stored_rows : 0;
    return position;
  }

  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override {
    ABSL_RETURN_IF_ERROR(files_.BeginWriting());
    pieces_.clear();
    encoded_.clear();
    keys_.clear();
    int64_t rows = 0;
    for (const Batch* const batch : batches) {
      ABSL_RETURN_IF_ERROR(CheckWidth(path_, dim_, batch->dim()));
      for (const BatchRow& row : batch->rows()) {
        if (row.vector == nullptr) continue;
        ABSL_RETURN_IF_ERROR(order_.Check(path_, row));
        if (form_.type == OutputType::kFloat32) {
          AddPiece(row.vector);
        } else if (const absl::Status status = AppendOutput(form_, {row.vector, static_cast<size_t>(dim_)}, &encoded_);
                   !status.ok()) {
          refused->push_back({row.ordinal, absl::Status(status.code(), absl::StrCat(path_, ": row ", KeyText(row.key),
                                                                                    ": ", status.message()))});
          continue;
        }
        absl::StrAppend(&keys_, KeyJson(row.key), "\n");
        ++rows;
      }
    }
    ABSL_RETURN_IF_ERROR(CheckRows(rows_ + rows));
    ABSL_RETURN_IF_ERROR(form_.type == OutputType::kFloat32 ? files_.AppendPieces(kVectors, pieces_)
                                                            : files_.Append(kVectors, encoded_));
    rows_ += rows;
    return files_.Append(kKeys, keys_);
  }

  absl::Status Flush() override {
    ABSL_RETURN_IF_ERROR(files_.SetHeader(kVectors, format_.header(rows_, dim_, form_.type)));
    return files_.Flush();
  }

  absl::Status Complete() override {
    ABSL_RETURN_IF_ERROR(files_.SetHeader(kVectors, format_.header(rows_, dim_, form_.type)));
    return files_.Finish();
  }

 private:
  static GrowingFile Matrix(const MatrixFormat& format, const std::string& path, int dim, OutputType type) {
    const auto measure = [format, dim, type](const File& file, int64_t rows) -> absl::StatusOr<std::optional<int64_t>> {
      const absl::StatusOr<MatrixShape> shape = ReadMatrixHeader(format, file);
      // An unreadable header is a reason to begin again, not to stop: the rows are safe elsewhere.
      const std::string ours = format.header(0, dim, type);
      if (!shape.ok() || shape->dim != dim || shape->type.value_or(type) != type ||
          shape->data_offset != static_cast<int64_t>(ours.size())) {
        return std::nullopt;
      }
      ABSL_ASSIGN_OR_RETURN(const int64_t size, file.Size());
      const int64_t bytes = shape->data_offset + rows * OutputRowBytes(type, dim);
      if (bytes > size) return std::nullopt;
      return bytes;
    };
    return {.path = path, .header = format.header(0, dim, type), .measure = measure};
  }

  absl::Status CheckRows(int64_t rows) const {
    if (rows <= format_.max_rows) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(path_, ": expected at most ", format_.max_rows, " rows in ",
                                                      format_.name, ", got ", rows, "; choose another format"));
  }

  // Vectors that lie one behind the other, as those of one reply do, become one piece.
  void AddPiece(const float* vector) {
    const absl::string_view bytes(reinterpret_cast<const char*>(vector), static_cast<size_t>(dim_) * sizeof(float));
    if (!pieces_.empty() && pieces_.back().data() + pieces_.back().size() == bytes.data()) {
      pieces_.back() = {pieces_.back().data(), pieces_.back().size() + bytes.size()};
    } else {
      pieces_.push_back(bytes);
    }
  }

  const MatrixFormat format_;
  const std::string path_;
  const int dim_;
  const OutputForm form_;
  GrowingFiles files_;
  int64_t rows_ = 0;
  AscendingRows order_;
  std::vector<absl::string_view> pieces_;  // of float32
  std::string encoded_;                    // of other types
  std::string keys_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorSink>> MakeMatrixFileSink(const MatrixFormat& format, const Location& location,
                                                               const Model& model) {
  ABSL_RETURN_IF_ERROR(CheckFileTarget(location, model, kOutputParameters));
  ABSL_ASSIGN_OR_RETURN(OutputForm form, OutputFormOf(location));
  const auto here = [&location](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(location.path, ": ", status.message()));
  };
  const std::optional<OutputType> named =
      format.type_of_name == nullptr ? std::nullopt : format.type_of_name(location.path);
  if (location.Get("type").empty()) form.type = named.value_or(form.type);
  if (named.value_or(form.type) != form.type) {
    return here(
        absl::InvalidArgumentError(absl::StrCat("a file of this name has rows of ", OutputTypeName(*named), ", not of ",
                                                OutputTypeName(form.type), "; choose a name with another ending")));
  }
  if (const absl::Status status = format.check_type(form.type); !status.ok()) return here(status);
  if (const absl::Status status = CheckOutputWidth(form.type, model.dim); !status.ok()) return here(status);
  return std::make_unique<MatrixFileSink>(format, location.path, model.dim, form);
}

}  // namespace reembed
