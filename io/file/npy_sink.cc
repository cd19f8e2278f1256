// SPDX-License-Identifier: Apache-2.0
#include "io/file/npy_sink.h"

#include "io/file/matrix_file_sink.h"

namespace reembed {

absl::StatusOr<std::unique_ptr<VectorSink>> MakeNpySink(const Location& location, const Model& model) {
  return MakeMatrixFileSink(kNpyFormat, location, model);
}

}  // namespace reembed
