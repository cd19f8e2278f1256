// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_JSONL_SINK_H_
#define REEMBED_IO_FILE_JSONL_SINK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

// PATH with one line a row: {"key":42,"embedding":[0.25,-1e-05]}. Numbers are the shortest that give the same float32.
// Ascending rows; goes on after a crash behind the last Flush(); see growing_file.h.
// Errors: kInvalidArgument, kNotFound, kPermissionDenied (the place cannot be written).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeJsonlSink(const Location& location, const Model& model);

// The same lines to an open file descriptor, such as standard output; `fd` is borrowed. What was written in an earlier
// run has gone by, so Open() asks for every row again. The caller ignores SIGPIPE: a reader that left is kUnavailable.
std::unique_ptr<VectorSink> MakeJsonlStreamSink(int fd);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_JSONL_SINK_H_
