// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_JOB_CHOICE_H_
#define REEMBED_TOOLS_JOB_CHOICE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/environment.h"
#include "tools/exit_code.h"

// Which jobs a command is about, when it names several or none.
namespace reembed {

// The job in the default folder that was written to last. Errors: kNotFound (names the folder).
absl::StatusOr<std::string> NewestJob(const Environment& environment);

struct JobChoice {
  const char* command;
  bool changes = false;  // the command changes something: the newest job must not be meant by an oversight
  bool yes = false;      // do not ask
  bool no_input = false;
  bool json = false;
};

// Runs the command for each of the jobs, in their order, or for the newest if none is named, which it says; a command
// that changes something asks first, and wants the name where it may not ask. The worst exit code of all.
ExitCode ForEachJob(const JobChoice& choice, const std::vector<std::string>& jobs, const Environment& environment,
                    const std::function<ExitCode(const std::string& job)>& run);

}  // namespace reembed

#endif  // REEMBED_TOOLS_JOB_CHOICE_H_
