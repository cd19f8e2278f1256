#include "tools/output.h"

#include <cstdio>
#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tools/format.h"

namespace reembed {

ExitCode Fail(absl::string_view command, const absl::Status& status, bool json) {
  const ExitCode code = ExitCodeOf(status);
  if (json) {
    JsonLine line("error");
    line.Add("command", command).Add("message", status.message()).Add("exit_code", static_cast<int>(code));
    std::cerr << line.ToString() << std::endl;
  } else {
    std::cerr << "reembed" << (command.empty() ? "" : " ") << command << ": " << status.message() << std::endl;
  }
  return code;
}

void Note(absl::string_view note, bool json) {
  const std::string line = json ? JsonLine("note").Add("message", note).ToString() : absl::StrCat("note: ", note);
  // In one call, as other threads say something, too.
  std::fputs((line + "\n").c_str(), stderr);
}

}  // namespace reembed
