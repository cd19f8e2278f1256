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

// Starts a command of the shell. `files`: descriptors of ours, and which one each is there (1: its output); everything
// else is as it is here. Returns the error of the system, 0: none.
int StartShell(const std::string& command, const std::vector<std::pair<int, int>>& files, pid_t* child);

// Waits until it has ended, and ends it at `end`; `longest` is for the message. Blocks.
// Errors: kInvalidArgument (another exit code than 0, or a signal), kDeadlineExceeded.
absl::Status EndOfShell(pid_t child, Moment end, absl::Duration longest);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHELL_H_
