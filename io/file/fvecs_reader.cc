// SPDX-License-Identifier: Apache-2.0
#include "io/file/fvecs_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/key_sidecar.h"
#include "io/file/matrix_format.h"
#include "io/file/matrix_reader.h"

namespace reembed {
namespace {

constexpr int64_t kWidthBytes = 4;

class FvecsRows final : public VectorRows {
 public:
  FvecsRows(File file, int32_t dim) : file_(std::move(file)), dim_(dim) {}

  absl::Status Read(int64_t first, int64_t rows, float* to) override {
    const auto row_bytes = static_cast<size_t>(kWidthBytes + int64_t{4} * dim_);
    bytes_.resize(static_cast<size_t>(rows) * row_bytes);
    ABSL_ASSIGN_OR_RETURN(const size_t read,
                          file_.ReadAt(first * static_cast<int64_t>(row_bytes), absl::MakeSpan(bytes_)));
    if (read != bytes_.size()) {
      return absl::DataLossError(absl::StrCat(file_.path(), ": row ", first, ": expected ", bytes_.size(),
                                              " more bytes, got ", read, "; the file became shorter"));
    }
    for (int64_t i = 0; i < rows; ++i) {
      const char* const row = bytes_.data() + static_cast<size_t>(i) * row_bytes;
      int32_t dim = 0;
      std::memcpy(&dim, row, sizeof dim);
      if (dim != dim_) {
        return absl::DataLossError(absl::StrCat(file_.path(), ": row ", first + i, ": expected a vector of ", dim_,
                                                " numbers, like the rows before, got ", dim));
      }
      std::memcpy(to + i * dim_, row + kWidthBytes, row_bytes - kWidthBytes);
    }
    return absl::OkStatus();
  }

 private:
  const File file_;
  const int32_t dim_;
  std::vector<char> bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenFvecsReader(const Location& location) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters({}));
  ABSL_ASSIGN_OR_RETURN(File file, File::OpenToRead(location.path));
  ABSL_ASSIGN_OR_RETURN(const int64_t size, file.Size());
  char start[kWidthBytes] = {};
  ABSL_ASSIGN_OR_RETURN(const size_t read, file.ReadAt(0, absl::MakeSpan(start)));
  int32_t dim = 0;
  std::memcpy(&dim, start, sizeof dim);
  if (read < sizeof dim || dim < 1 || dim > kMaxDim) {
    return absl::DataLossError(absl::StrCat(location.path, ": expected a width of 1 to ", kMaxDim,
                                            " at the beginning, got ",
                                            read < sizeof dim ? "an empty file" : absl::StrCat(dim)));
  }
  const int64_t row_bytes = kWidthBytes + int64_t{4} * dim;
  const int64_t rows = size / row_bytes;
  if (size % row_bytes != 0) {
    return absl::DataLossError(absl::StrCat(location.path, ": expected rows of ", dim, " numbers, which take ",
                                            row_bytes, " bytes each, got ", size % row_bytes, " bytes after ", rows,
                                            " rows; the file is cut off, or its rows are of several widths"));
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<KeyColumn> keys, OpenKeySidecar(location.path, rows));
  return MakeMatrixReader(std::make_unique<FvecsRows>(std::move(file), dim), std::move(keys), rows, dim);
}

}  // namespace reembed
