#ifndef REEMBED_TOOLS_OUTPUT_H_
#define REEMBED_TOOLS_OUTPUT_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/exit_code.h"

namespace reembed {

// Says on standard error what went wrong, as text or as a JSON line with the exit code, and returns that.
// `command` empty: none was understood.
ExitCode Fail(absl::string_view command, const absl::Status& status, bool json);

// Says something by the way on standard error, as text or as a JSON line. From any thread.
void Note(absl::string_view note, bool json);

}  // namespace reembed

#endif  // REEMBED_TOOLS_OUTPUT_H_
