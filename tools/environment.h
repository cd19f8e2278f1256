#ifndef REEMBED_TOOLS_ENVIRONMENT_H_
#define REEMBED_TOOLS_ENVIRONMENT_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

// The process's environment, and behind it the variables of one `.env` file. A variable that is set wins over the file.
class Environment {
 public:
  Environment() = default;

  // Reads `path`; lines NAME=VALUE, `export` and quotes allowed, # begins a comment.
  // Errors: kNotFound, kInvalidArgument (names the line).
  absl::Status AddFile(const std::string& path);

  // Empty if it is nowhere, or empty.
  std::string Get(const std::string& name) const;

 private:
  std::map<std::string, std::string> file_;
};

// The variables of a `.env` text.
absl::StatusOr<std::map<std::string, std::string>> ParseEnvText(absl::string_view text);

// `~` and `~/...` with the home directory put in.
std::string ExpandHome(const std::string& path, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_ENVIRONMENT_H_
