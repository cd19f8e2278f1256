// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_FBIN_SINK_H_
#define REEMBED_IO_FILE_FBIN_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

// PATH in the fbin format of the big-ann-benchmarks (uint32 rows, uint32 dim, rows of float32), keys in
// PATH.keys.jsonl. Ascending rows; goes on after a crash behind the last Flush(); see growing_file.h. At most 2^32 - 1
// rows: more are refused in Open() when they were counted, else in Write(), with kFailedPrecondition. Errors:
// kInvalidArgument, kNotFound, kPermissionDenied (the place cannot be written).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeFbinSink(const Location& location, const Model& model);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_FBIN_SINK_H_
