// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_API_KEY_H_
#define REEMBED_TOOLS_API_KEY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/environment.h"
#include "tools/options.h"

// Where an API key comes from: a command, standard input, a file or a variable, and never a flag.
namespace reembed {

// The value of --api-key-file for a key on standard input.
inline constexpr char kStandardInput[] = "-";

// Runs --api-key-cmd, or reads the first line of standard input for --api-key-file -, and stores the key in
// *environment for FindApiKey(). Does nothing without these flags, or if the key is already there. Blocks.
// Errors: kInvalidArgument (also if standard input is the source, or a terminal), kDeadlineExceeded.
absl::Status AskForApiKey(const CommandOptions& options, Environment* environment);

// The key that AskForApiKey() has stored, or from --api-key-file, or from the environment: --api-key-env, else the
// first of `variables` that is set. Empty if there is none.
// Errors: kNotFound (the file), kUnauthenticated (the variable of --api-key-env is not set).
absl::StatusOr<std::string> FindApiKey(const CommandOptions& options, const std::vector<std::string>& variables,
                                       const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_API_KEY_H_
