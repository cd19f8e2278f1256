// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_OUTPUT_H_
#define REEMBED_TOOLS_OUTPUT_H_

#include <memory>
#include <ostream>
#include <streambuf>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/exit_code.h"

namespace reembed {

// While it lives, what is written to `stream` comes out as ShownText() has it: whatever a row, a server or a file says,
// no escape sequence reaches a terminal, and no password of a URL. Each piece is taken by itself.
class ShownStream {
 public:
  explicit ShownStream(std::ostream* stream);
  ShownStream(const ShownStream&) = delete;
  ShownStream& operator=(const ShownStream&) = delete;
  ~ShownStream();

 private:
  class Buffer;

  std::ostream* const stream_;
  std::streambuf* const before_;
  const std::unique_ptr<Buffer> buffer_;
};

// Hides user and password of URLs among the words of this process in the list of processes. The words are changed.
void HideLogins(int argc, char** argv);

// Says on standard error what went wrong, as text or as a JSON line with the exit code, and returns that.
// `command` empty: none was understood.
ExitCode Fail(absl::string_view command, const absl::Status& status, bool json);

// What it says as a line of JSON.
std::string FailureJson(absl::string_view command, const absl::Status& status);

// Says something by the way on standard error, as text or as a JSON line. From any thread.
void Note(absl::string_view note, bool json);

}  // namespace reembed

#endif  // REEMBED_TOOLS_OUTPUT_H_
