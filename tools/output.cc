// SPDX-License-Identifier: Apache-2.0
#include "tools/output.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/shown_text.h"
#include "tools/format.h"
#include "tools/setting_flags.h"

namespace reembed {

// Without a buffer, as different threads write whole lines: the one below has it.
class ShownStream::Buffer final : public std::streambuf {
 public:
  explicit Buffer(std::streambuf* below) : below_(below) {}

 private:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    const std::string shown = ShownText({text, static_cast<size_t>(size)});
    const auto bytes = static_cast<std::streamsize>(shown.size());
    return below_->sputn(shown.data(), bytes) == bytes ? size : 0;
  }
  int overflow(int character) override {
    if (character == traits_type::eof()) return traits_type::not_eof(character);
    const char byte = traits_type::to_char_type(character);
    return xsputn(&byte, 1) == 1 ? character : traits_type::eof();
  }
  int sync() override { return below_->pubsync(); }

  std::streambuf* const below_;
};

ShownStream::ShownStream(std::ostream* stream)
    : stream_(stream), before_(stream->rdbuf()), buffer_(std::make_unique<Buffer>(before_)) {
  stream_->rdbuf(buffer_.get());
}

ShownStream::~ShownStream() { stream_->rdbuf(before_); }

void HideLogins(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    char* const word = argv[i];
    const absl::string_view text(word);
    // What stands behind these flags is an address even without a scheme.
    const absl::string_view flag = text.substr(0, text.find('='));
    const auto takes_address = [](absl::string_view name) {
      return name == "--proxy" || name == "--api-base" || name == "--endpoint" || name == "--db";
    };
    if (!absl::StrContains(text, "://") && (takes_address(flag) || takes_address(argv[i - 1]))) {
      const size_t begin = takes_address(flag) && flag.size() < text.size() ? flag.size() + 1 : 0;
      std::fill_n(word + begin, UrlLoginBytes(text.substr(begin)), '*');
    }
    for (size_t at = text.find("://"); at != absl::string_view::npos; at = text.find("://", at + 3)) {
      const size_t login = UrlLoginBytes(text.substr(at + 3));
      std::fill_n(word + at + 3, login, '*');
    }
  }
}

std::string FailureJson(absl::string_view command, const absl::Status& status) {
  JsonLine line("error");
  line.Add("command", command).Add("message", MessageWithFlag(status));
  return line.Add("exit_code", static_cast<int>(ExitCodeOf(status))).ToString();
}

ExitCode Fail(absl::string_view command, const absl::Status& status, bool json) {
  const ExitCode code = ExitCodeOf(status);
  if (json) {
    std::cerr << FailureJson(command, status) << std::endl;
  } else {
    std::cerr << "reembed" << (command.empty() ? "" : " ") << command << ": " << ShownLine(MessageWithFlag(status))
              << std::endl;
  }
  return code;
}

void Note(absl::string_view note, bool json) {
  const std::string line = json ? JsonLine("note").Add("message", note).ToString() : absl::StrCat("note: ", note);
  // In one call, as other threads say something, too.
  std::fputs((ShownLine(line) + "\n").c_str(), stderr);
}

}  // namespace reembed
