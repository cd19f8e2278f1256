// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_MATRIX_FORMAT_H_
#define REEMBED_IO_FILE_MATRIX_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/output_form.h"
#include "io/file/file.h"

namespace reembed {

// Longer vectors are refused: no model makes them, and a damaged header easily says so.
inline constexpr int64_t kMaxDim = int64_t{1} << 20;

// What the header of a matrix file says.
struct MatrixShape {
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t data_offset = 0;              // bytes in front of the first row
  std::optional<OutputType> type = {};  // of the numbers; nullopt: the header does not say
};

// A file of rows of numbers behind a header: little-endian, row-major, no gaps.
struct MatrixFormat {
  absl::string_view name;
  int64_t max_rows = std::numeric_limits<int64_t>::max();
  // The header of our files; its length does not depend on the shape.
  std::string (*header)(int64_t rows, int dim, OutputType type) = nullptr;
  // Reads a header from the first bytes of a file, ours or another's. Errors: kDataLoss (it is none: why, without the
  // path), kFailedPrecondition (one of another element type or order).
  absl::StatusOr<MatrixShape> (*parse)(absl::string_view start) = nullptr;
  // Whether the format has rows of this type, of which programs that read it know. Errors: kInvalidArgument (says which
  // has).
  absl::Status (*check_type)(OutputType type) = nullptr;
  // What the name of a file says of its type, where the header does not; nullopt: nothing. Null: the header does.
  std::optional<OutputType> (*type_of_name)(absl::string_view path) = nullptr;
};

// uint32 rows, uint32 dim, rows: float32 in .fbin, and in files whose names end so: int8 in .i8bin, float16 in .f16bin.
// Sources: big-ann-benchmarks, dataset_io.py; the documentation of cuVS Bench.
extern const MatrixFormat kFbinFormat;

// NumPy's format, written as version 1.0 with a header of 128 bytes. Source: numpy.lib.format. bfloat16, which NumPy
// itself does not know, is two bytes without a meaning (V2), as the package ml_dtypes saves its own; bits are bytes as
// numpy.packbits() makes them.
extern const MatrixFormat kNpyFormat;

// Bytes from the start of a file that MatrixFormat::parse may want to see.
inline constexpr size_t kMatrixHeaderBytes = size_t{64} << 10;

// The header of `file`, without a look at what follows it. Errors: as MatrixFormat::parse, with the path.
absl::StatusOr<MatrixShape> ReadMatrixHeader(const MatrixFormat& format, const File& file);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_MATRIX_FORMAT_H_
