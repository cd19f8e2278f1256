// SPDX-License-Identifier: Apache-2.0
#include "tools/command_output.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {
namespace {

constexpr size_t kMostBytes = 64 * 1024;  // a key is shorter by far
constexpr absl::Duration kTick = absl::Milliseconds(20);

// Its output goes to `output`; everything else is as it is here. Returns the error, 0: none.
int StartShell(const std::string& command, int output, pid_t* child) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A broken pipe ends other programs, as it does from a shell.
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGXFSZ);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::string words[] = {"sh", "-c", command};
  char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(), nullptr};
  const int error = posix_spawn(child, "/bin/sh", &files, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

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

// A command may close its output and go on. Whether it ended in time; its state is in *state.
bool WaitUntil(Moment end, pid_t child, int* state) {
  for (;;) {
    if (waitpid(child, state, WNOHANG) != 0) return true;
    if (MonotonicNow() >= end) return false;
    poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(kTick)));
  }
}

}  // namespace

absl::StatusOr<std::string> FirstLineOf(const std::string& command, absl::Duration longest) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError(absl::StrCat("no pipe: ", strerror(errno)));
  const absl::Cleanup close_from = [&] { close(ends[0]); };
  pid_t child = 0;
  const int error = StartShell(command, ends[1], &child);
  close(ends[1]);
  if (error != 0) return absl::InternalError(absl::StrCat("/bin/sh cannot be started: ", strerror(error)));
  std::string output;
  int state = 0;
  const Moment end = MonotonicNow() + longest;
  if (!ReadUntil(end, ends[0], &output) || !WaitUntil(end, child, &state)) {
    kill(child, SIGKILL);
    waitpid(child, &state, 0);
    return absl::DeadlineExceededError(absl::StrCat("the command was not over after ", absl::FormatDuration(longest)));
  }
  if (WIFSIGNALED(state)) {
    return absl::InvalidArgumentError(absl::StrCat("the command was ended by signal ", WTERMSIG(state)));
  }
  if (WEXITSTATUS(state) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("the command ended with exit code ", WEXITSTATUS(state)));
  }
  std::string line(absl::StripAsciiWhitespace(output.substr(0, output.find('\n'))));
  if (line.empty()) return absl::InvalidArgumentError("the command printed nothing in its first line");
  return line;
}

}  // namespace reembed
