// SPDX-License-Identifier: Apache-2.0
#include "io/file/fbin_sink.h"

#include "io/file/matrix_file_sink.h"

namespace reembed {

absl::StatusOr<std::unique_ptr<VectorSink>> MakeFbinSink(const Location& location, const Model& model) {
  return MakeMatrixFileSink(kFbinFormat, location, model);
}

}  // namespace reembed
