// SPDX-License-Identifier: Apache-2.0
// Files of a matrix: the header, and the rows behind it.
#include "io/file/matrix_format.h"
#include "io/file/matrix_reader.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<MatrixShape> shape = kNpyFormat.parse(bytes);
  Saw(shape.status());
  if (shape.ok()) {
    Require(shape->rows >= 0 && shape->dim >= 0 && shape->data_offset > 0, "a shape has no number below zero");
    if (shape->rows <= kNpyFormat.max_rows && shape->dim <= kMaxDim) {
      const std::string header =
          kNpyFormat.header(shape->rows, static_cast<int>(shape->dim), shape->type.value_or(OutputType::kFloat32));
      const absl::StatusOr<MatrixShape> again = kNpyFormat.parse(header);
      Require(again.ok() && again->rows == shape->rows && again->dim == shape->dim && again->type == shape->type,
              "a header is read as it was written");
    }
  }
  absl::StatusOr<std::unique_ptr<VectorReader>> reader =
      OpenNpyReader({.scheme = "npy", .path = scratch.Write("vectors.npy", bytes)});
  Saw(reader.status());
  if (reader.ok() && (*reader)->rows() < 1000) ReadAll(reader->get());
  return 0;
}
