// SPDX-License-Identifier: Apache-2.0
#include "tools/command_output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"
#include "tools/shell.h"

namespace reembed {
namespace {

constexpr size_t kMostBytes = size_t{64} * 1024;  // a key is shorter by far
constexpr off_t kMostOfAProgram = 16 << 20;

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

// A file without a name that holds `content`. -1: errno says why not.
int FileOf(const std::string& content) {
  const int file = memfd_create("reembed", MFD_CLOEXEC);
  if (file < 0) return -1;
  for (size_t at = 0; at < content.size();) {
    const ssize_t written = write(file, content.data() + at, content.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      close(file);
      return -1;
    }
    at += static_cast<size_t>(written);
  }
  lseek(file, 0, SEEK_SET);
  return file;
}

std::string ContentOf(int file) {
  std::string content(std::clamp<off_t>(lseek(file, 0, SEEK_END), 0, kMostOfAProgram), '\0');
  const ssize_t size = pread(file, content.data(), content.size(), 0);
  content.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return content;
}

}  // namespace

absl::StatusOr<ProgramResult> RunProgram(const std::vector<std::string>& words, const std::string& input,
                                         absl::Duration longest) {
  const int in = FileOf(input), out = FileOf(""), err = FileOf("");
  const absl::Cleanup close_files = [&] {
    for (const int file : {in, out, err}) {
      if (file >= 0) close(file);
    }
  };
  if (in < 0 || out < 0 || err < 0) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for what ", words[0], " says: ", strerror(errno)));
  }
  pid_t child = 0;
  const int error = StartProgram(words, {{in, STDIN_FILENO}, {out, STDOUT_FILENO}, {err, STDERR_FILENO}}, &child);
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat(words[0], ": there is no such program in $PATH"));
  if (error != 0) return absl::InternalError(absl::StrCat(words[0], " cannot be started: ", strerror(error)));
  int state = 0;
  if (!HasEnded(child, MonotonicNow() + longest, &state)) {
    kill(child, SIGKILL);
    waitpid(child, &state, 0);
    return absl::DeadlineExceededError(absl::StrCat(words[0], ": not over after ", absl::FormatDuration(longest)));
  }
  return ProgramResult{.exit_code = WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state),
                       .out = ContentOf(out),
                       .err = ContentOf(err)};
}

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
