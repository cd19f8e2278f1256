// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_NOTIFY_H_
#define REEMBED_TOOLS_NOTIFY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace reembed {

inline constexpr absl::Duration kNotifyTakesAtMost = absl::Seconds(30);

// Runs a command of the shell with `line` and a line end on its standard input, and waits for it. What it prints goes
// where ours goes to as errors, since standard output is for results; one that is not over after `longest` is ended.
// Errors: kInvalidArgument (another exit code than 0), kDeadlineExceeded, kInternal (no shell).
absl::Status Notify(const std::string& command, absl::string_view line, absl::Duration longest = kNotifyTakesAtMost);

}  // namespace reembed

#endif  // REEMBED_TOOLS_NOTIFY_H_
