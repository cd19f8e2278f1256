// SPDX-License-Identifier: Apache-2.0
#include "tools/notify.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "io/net/owned_fd.h"
#include "tools/shell.h"

namespace reembed {

absl::Status Notify(const std::string& command, absl::string_view line, absl::Duration longest) {
  // A file in memory, and no pipe: a command that does not read its input must not hold us up.
  const OwnedFd input(memfd_create("reembed-summary", MFD_CLOEXEC));
  const std::string text = absl::StrCat(line, "\n");
  if (input.get() < 0 || pwrite(input.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return absl::InternalError(absl::StrCat("no memory for the summary: ", std::strerror(errno)));
  }
  pid_t child = 0;
  const int error = StartShell(command, {{input.get(), STDIN_FILENO}, {STDERR_FILENO, STDOUT_FILENO}}, &child);
  if (error != 0) return absl::InternalError(absl::StrCat("/bin/sh cannot be started: ", std::strerror(error)));
  return EndOfShell(child, MonotonicNow() + longest, longest);
}

}  // namespace reembed
