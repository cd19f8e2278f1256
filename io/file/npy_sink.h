// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_NPY_SINK_H_
#define REEMBED_IO_FILE_NPY_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

// PATH in NumPy's format (`<f4`, C order, shape [rows, dim]; may be memory-mapped), keys in PATH.keys.jsonl.
// Ascending rows; goes on after a crash behind the last Flush(); see growing_file.h.
// Errors: kInvalidArgument, kNotFound, kPermissionDenied (the place cannot be written).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeNpySink(const Location& location, const Model& model);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_NPY_SINK_H_
