// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_COMMAND_OUTPUT_H_
#define REEMBED_TOOLS_COMMAND_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace reembed {

// The first line that a command of the shell prints, without blanks around it. The command has this process's terminal,
// so that it may ask for a password; one that is not over after `longest` is ended. Blocks.
// Errors: kInvalidArgument (it ends with another exit code than 0, or prints nothing), kDeadlineExceeded. What it
// printed is in no error.
absl::StatusOr<std::string> FirstLineOf(const std::string& command, absl::Duration longest);

struct ProgramResult {
  int exit_code = 0;  // 128 and the signal, where one ended it
  std::string out;    // of each at most 16 MiB
  std::string err;
};

// Runs another program to its end: words[0] is looked for in $PATH, `input` is its standard input. One that is not over
// after `longest` is ended. Blocks. Precondition: there is a word.
// Errors: kNotFound (there is no such program), kDeadlineExceeded.
absl::StatusOr<ProgramResult> RunProgram(const std::vector<std::string>& words, const std::string& input,
                                         absl::Duration longest);

}  // namespace reembed

#endif  // REEMBED_TOOLS_COMMAND_OUTPUT_H_
