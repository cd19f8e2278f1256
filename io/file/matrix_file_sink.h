// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_MATRIX_FILE_SINK_H_
#define REEMBED_IO_FILE_MATRIX_FILE_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"
#include "io/file/matrix_format.h"

namespace reembed {

// What the fbin and npy sinks share: rows are written from the memory of the batches, keys beside them (key_sidecar.h).
// Errors: kInvalidArgument (a parameter, a width that no file can have, a folder), kNotFound (no such folder).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeMatrixFileSink(const MatrixFormat& format, const Location& location,
                                                               const Model& model);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_MATRIX_FILE_SINK_H_
