// SPDX-License-Identifier: Apache-2.0
#include "io/file/stream_output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "io/file/file.h"

namespace reembed {

absl::Status WriteToStream(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd waiting = {.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&waiting, 1, -1);
    } else if (errno == EPIPE) {
      return absl::UnavailableError("standard output: its reader has ended; run again to get every row");
    } else if (errno != EINTR) {
      return FileError("standard output", absl::StrCat("write ", bytes.size(), " more bytes"), errno);
    }
  }
  return absl::OkStatus();
}

}  // namespace reembed
