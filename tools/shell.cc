// SPDX-License-Identifier: Apache-2.0
#include "tools/shell.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(20);

}  // namespace

int StartProgram(const std::vector<std::string>& words, const std::vector<std::pair<int, int>>& ours, pid_t* child) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  for (const auto& [from, to] : ours) posix_spawn_file_actions_adddup2(&files, from, to);
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
  arguments.reserve(words.size() + 1);
  // The function takes them so and leaves them alone.
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int error = posix_spawnp(child, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

int StartShell(const std::string& command, const std::vector<std::pair<int, int>>& ours, pid_t* child) {
  return StartProgram({"/bin/sh", "-c", command}, ours, child);
}

bool HasEnded(pid_t child, Moment end, int* state) {
  for (;;) {
    if (waitpid(child, state, WNOHANG) != 0) return true;
    if (MonotonicNow() >= end) return false;
    poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(kTick)));
  }
}

absl::Status EndOfShell(pid_t child, Moment end, absl::Duration longest) {
  int state = 0;
  if (!HasEnded(child, end, &state)) {
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
  return absl::OkStatus();
}

}  // namespace reembed
