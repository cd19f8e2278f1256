// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_NPY_STREAM_SINK_H_
#define REEMBED_IO_FILE_NPY_STREAM_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

// One array in NumPy's format to an open file descriptor, such as standard output, for `numpy.load`: float32, a row of
// it for each row of the source that has a vector, in their order; no keys. Its first bytes say how many rows there
// are, so nothing is written before Publish(): until then the rows lie in a file without a name in $TMPDIR (or /tmp),
// 4 bytes a number. `fd` is borrowed; the caller ignores SIGPIPE. What was written in an earlier run has gone by, so
// Open() asks for every row again. Errors: kInvalidArgument (a parameter); those of the file system; kUnavailable (the
// reader has gone).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeNpyStreamSink(const Location& location, const Model& model, int fd);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_NPY_STREAM_SINK_H_
