// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHELL_H_
#define REEMBED_TOOLS_SHELL_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

namespace reembed {

// Starts a program, which is looked for in $PATH unless words[0] has a slash. `files`: descriptors of ours, and which
// one each is there (1: its output); everything else is as it is here. Returns the error of the system, 0: none.
int StartProgram(const std::vector<std::string>& words, const std::vector<std::pair<int, int>>& files, pid_t* child);

// The same with a command of the shell.
int StartShell(const std::string& command, const std::vector<std::pair<int, int>>& files, pid_t* child);

// Waits until it has ended, and at most to `end`: it may close its output and go on. Whether it has; its state, as
// waitpid() gives it, is in *state. Blocks.
bool HasEnded(pid_t child, Moment end, int* state);

// Waits until it has ended, and ends it at `end`; `longest` is for the message. Blocks.
// Errors: kInvalidArgument (another exit code than 0, or a signal), kDeadlineExceeded.
absl::Status EndOfShell(pid_t child, Moment end, absl::Duration longest);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHELL_H_
