// SPDX-License-Identifier: Apache-2.0
#include "tools/command_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"
#include "tools/shell.h"

namespace reembed {
namespace {

constexpr size_t kMostBytes = 64 * 1024;  // a key is shorter by far

// All that comes until `end`, or until there is no more. Whether it came to its end.
bool ReadUntil(Moment end, int from, std::string* output) {
  char bytes[4096];
  for (;;) {
    const absl::Duration left = end - MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    pollfd wait = {.fd = from, .events = POLLIN, .revents = 0};
    const int ready = poll(&wait, 1, static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60'000)));
    if (ready <= 0) continue;
    const ssize_t size = read(from, bytes, sizeof(bytes));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return true;
    if (output->size() < kMostBytes) output->append(bytes, static_cast<size_t>(size));
  }
}

}  // namespace

absl::StatusOr<std::string> FirstLineOf(const std::string& command, absl::Duration longest) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError(absl::StrCat("no pipe: ", strerror(errno)));
  const absl::Cleanup close_from = [&] { close(ends[0]); };
  pid_t child = 0;
  const int error = StartShell(command, {{ends[1], STDOUT_FILENO}}, &child);
  close(ends[1]);
  if (error != 0) return absl::InternalError(absl::StrCat("/bin/sh cannot be started: ", strerror(error)));
  std::string output;
  const Moment end = MonotonicNow() + longest;
  const bool in_time = ReadUntil(end, ends[0], &output);
  ABSL_RETURN_IF_ERROR(EndOfShell(child, in_time ? end : MonotonicNow(), longest));
  // It has left somebody behind who holds its output.
  if (!in_time) return absl::DeadlineExceededError("the output of the command did not end in time");
  std::string line(absl::StripAsciiWhitespace(output.substr(0, output.find('\n'))));
  if (line.empty()) return absl::InvalidArgumentError("the command printed nothing in its first line");
  return line;
}

}  // namespace reembed
