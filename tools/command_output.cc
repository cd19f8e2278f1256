// SPDX-License-Identifier: Apache-2.0
#include "tools/command_output.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
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
constexpr off_t kMostOfAProgram = 16 << 20;
constexpr absl::Duration kTick = absl::Milliseconds(20);

// The three files of a program that is started; -1: this process's own.
struct ProgramFiles {
  int in = -1;
  int out = -1;
  int err = -1;
};

// words[0] is looked for in $PATH unless it has a slash. Returns the error, 0: none.
int StartProgram(const std::vector<std::string>& words, const ProgramFiles& files, pid_t* child) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (files.in >= 0) posix_spawn_file_actions_adddup2(&actions, files.in, STDIN_FILENO);
  if (files.out >= 0) posix_spawn_file_actions_adddup2(&actions, files.out, STDOUT_FILENO);
  if (files.err >= 0) posix_spawn_file_actions_adddup2(&actions, files.err, STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // A broken pipe ends other programs, as it does from a shell.
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGXFSZ);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> arguments;
  // The function takes them so and leaves them alone.
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int error = posix_spawnp(child, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
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
  const ProgramFiles files = {.in = FileOf(input), .out = FileOf(""), .err = FileOf("")};
  const absl::Cleanup close_files = [&] {
    for (const int file : {files.in, files.out, files.err}) {
      if (file >= 0) close(file);
    }
  };
  if (files.in < 0 || files.out < 0 || files.err < 0) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for what ", words[0], " says: ", strerror(errno)));
  }
  pid_t child = 0;
  const int error = StartProgram(words, files, &child);
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat(words[0], ": there is no such program in $PATH"));
  if (error != 0) return absl::InternalError(absl::StrCat(words[0], " cannot be started: ", strerror(error)));
  int state = 0;
  if (!WaitUntil(MonotonicNow() + longest, child, &state)) {
    kill(child, SIGKILL);
    waitpid(child, &state, 0);
    return absl::DeadlineExceededError(absl::StrCat(words[0], ": not over after ", absl::FormatDuration(longest)));
  }
  return ProgramResult{.exit_code = WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state),
                       .out = ContentOf(files.out),
                       .err = ContentOf(files.err)};
}

absl::StatusOr<std::string> FirstLineOf(const std::string& command, absl::Duration longest) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError(absl::StrCat("no pipe: ", strerror(errno)));
  const absl::Cleanup close_from = [&] { close(ends[0]); };
  pid_t child = 0;
  const int error = StartProgram({"/bin/sh", "-c", command}, {.out = ends[1]}, &child);
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
