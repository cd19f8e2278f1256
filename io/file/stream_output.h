// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_STREAM_OUTPUT_H_
#define REEMBED_IO_FILE_STREAM_OUTPUT_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace reembed {

// Writes all of `bytes` to an open descriptor, such as standard output: a file, a pipe or a terminal, blocking or not.
// The caller ignores SIGPIPE. Errors: kUnavailable (its reader has gone); those of FileError.
absl::Status WriteToStream(int fd, absl::string_view bytes);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_STREAM_OUTPUT_H_
