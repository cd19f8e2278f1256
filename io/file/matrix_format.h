// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_MATRIX_FORMAT_H_
#define REEMBED_IO_FILE_MATRIX_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/file.h"

namespace reembed {

// Longer vectors are refused: no model makes them, and a damaged header easily says so.
inline constexpr int64_t kMaxDim = int64_t{1} << 20;

// What the header of a matrix file says.
struct MatrixShape {
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t data_offset = 0;  // bytes in front of the first row
};

// A file of float32 rows behind a header: little-endian, row-major, no gaps.
struct MatrixFormat {
  absl::string_view name;
  int64_t max_rows = std::numeric_limits<int64_t>::max();
  // The header of our files; its length does not depend on the shape.
  std::string (*header)(int64_t rows, int dim) = nullptr;
  // Reads a header from the first bytes of a file, ours or another's. Errors: kDataLoss (it is none: why, without the
  // path), kFailedPrecondition (one of another element type or order).
  absl::StatusOr<MatrixShape> (*parse)(absl::string_view start) = nullptr;
};

// uint32 rows, uint32 dim, rows. Source: big-ann-benchmarks, dataset_io.py.
extern const MatrixFormat kFbinFormat;

// NumPy's format, written as version 1.0 with a header of 128 bytes. Source: numpy.lib.format.
extern const MatrixFormat kNpyFormat;

// Bytes from the start of a file that MatrixFormat::parse may want to see.
inline constexpr size_t kMatrixHeaderBytes = size_t{64} << 10;

// The header of `file`, without a look at what follows it. Errors: as MatrixFormat::parse, with the path.
absl::StatusOr<MatrixShape> ReadMatrixHeader(const MatrixFormat& format, const File& file);

// Bytes of one row.
inline int64_t RowBytes(int64_t dim) { return dim * static_cast<int64_t>(sizeof(float)); }

}  // namespace reembed

#endif  // REEMBED_IO_FILE_MATRIX_FORMAT_H_
