// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LAUNCH_QUOTING_H_
#define REEMBED_TOOLS_LAUNCH_QUOTING_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Words of users in what other programs read. Each comes out there byte by byte as it was given here.
namespace reembed {

// One word for a POSIX shell, whatever is in it but a NUL byte.
std::string ShellQuoted(absl::string_view word);
// The words, with blanks between them.
std::string ShellLine(const std::vector<std::string>& words);

// One word of a line that begins with #SBATCH. `what` names it in errors.
// Errors: kInvalidArgument (a control character: a line break would end the line).
absl::StatusOr<std::string> SbatchQuoted(absl::string_view what, absl::string_view word);

// A string of YAML, in double quotes, so that `no`, `1e3` and `~` are strings as well. `what` names it in errors.
// Errors: kInvalidArgument (no UTF-8).
absl::StatusOr<std::string> YamlQuoted(absl::string_view what, absl::string_view word);

// A word for `command` or `args` of a container, where $(NAME) would be a variable.
std::string ContainerWord(absl::string_view word);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LAUNCH_QUOTING_H_
