#include "tools/output.h"

#include <iostream>

#include "tools/format.h"

namespace reembed {

ExitCode Fail(absl::string_view command, const absl::Status& status, bool json) {
  const ExitCode code = ExitCodeOf(status);
  if (json) {
    JsonLine line("error");
    line.Add("command", command).Add("message", status.message()).Add("exit_code", static_cast<int>(code));
    std::cerr << line.ToString() << std::endl;
  } else {
    std::cerr << "reembed " << command << ": " << status.message() << std::endl;
  }
  return code;
}

}  // namespace reembed
