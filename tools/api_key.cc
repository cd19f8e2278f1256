// SPDX-License-Identifier: Apache-2.0
#include "tools/api_key.h"

#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "engine/location.h"
#include "engine/status_macros.h"
#include "tools/command_output.h"
#include "tools/registry.h"

namespace reembed {
namespace {

constexpr char kKeyOfCommand[] = "the key that --api-key-cmd prints";  // no variable has such a name
constexpr char kKeyOfInput[] = "the key on standard input";            // likewise
constexpr size_t kLongestKey = size_t{64} << 10;
constexpr absl::Duration kLongestKeyCommand = absl::Minutes(5);  // somebody may have to be asked

// The mark of UTF-8 that some editors write first would be sent with it.
std::string TidyKey(absl::string_view line) {
  return std::string(absl::StripAsciiWhitespace(absl::StripPrefix(line, "\xef\xbb\xbf")));
}

// The first line of standard input. What follows it is left to whoever reads next.
absl::StatusOr<std::string> ReadKeyOfInput() {
  constexpr absl::string_view kFlag = "--api-key-file -: ";
  if (isatty(STDIN_FILENO) == 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        kFlag, "standard input is a terminal, which would show the key; pipe it in (pass show openai | reembed ...), ",
        "or say --api-key-cmd 'pass show openai'"));
  }
  std::string line;
  for (char byte = 0; line.size() < kLongestKey;) {
    const ssize_t bytes = read(STDIN_FILENO, &byte, 1);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0 || byte == '\n') break;
    line.push_back(byte);
  }
  std::string key = TidyKey(line);
  if (!key.empty() && line.size() < kLongestKey) return key;
  return absl::InvalidArgumentError(
      absl::StrCat(kFlag, "expected the key as the first line of standard input, got ",
                   key.empty() ? "nothing; did the command before the pipe fail?" : "a line that is too long for one"));
}

}  // namespace

absl::Status AskForApiKey(const CommandOptions& options, Environment* environment) {
  if (options.api_key_cmd.empty() && options.api_key_file == kStandardInput) {
    if (!environment->Get(kKeyOfInput).empty()) return absl::OkStatus();
    const absl::StatusOr<Location> rows = ParseLocation(options.source);
    if (rows.ok() && KindOf(*rows).is_stream) {
      return absl::InvalidArgumentError(
          "--api-key-file -: the rows come on standard input already; take --api-key-cmd, a file, or a variable");
    }
    ABSL_ASSIGN_OR_RETURN(std::string key, ReadKeyOfInput());
    environment->Add(kKeyOfInput, std::move(key));
    return absl::OkStatus();
  }
  if (options.api_key_cmd.empty()) return absl::OkStatus();
  if (!options.api_key_file.empty() || !options.api_key_env.empty()) {
    return absl::InvalidArgumentError("--api-key-cmd goes with neither --api-key-file nor --api-key-env");
  }
  if (!environment->Get(kKeyOfCommand).empty()) return absl::OkStatus();
  absl::StatusOr<std::string> key = FirstLineOf(options.api_key_cmd, kLongestKeyCommand);
  // The command itself may have a secret in it.
  if (!key.ok()) return absl::Status(key.status().code(), absl::StrCat("--api-key-cmd: ", key.status().message()));
  environment->Add(kKeyOfCommand, *std::move(key));
  return absl::OkStatus();
}

absl::StatusOr<std::string> FindApiKey(const CommandOptions& options, const std::vector<std::string>& variables,
                                       const Environment& environment) {
  if (!options.api_key_cmd.empty()) return environment.Get(kKeyOfCommand);
  if (options.api_key_file == kStandardInput) return environment.Get(kKeyOfInput);
  if (!options.api_key_file.empty()) {
    std::ifstream file(ExpandHome(options.api_key_file, environment));
    std::string key;
    if (!std::getline(file, key)) {
      return absl::NotFoundError(
          absl::StrCat("--api-key-file ", options.api_key_file, ": cannot be read, or is empty"));
    }
    return TidyKey(key);
  }
  // MemU's variable may also hold the name of the one that has the key; no key is the name of a variable that is set.
  const auto or_named = [&](const std::string& key) {
    std::string named = key.empty() ? "" : environment.Get(key);
    return named.empty() ? key : named;
  };
  if (options.api_key_env.empty()) return or_named(FirstSet(variables, environment));
  std::string key = or_named(environment.Get(options.api_key_env));
  if (key.empty()) {
    return absl::UnauthenticatedError(absl::StrCat("--api-key-env ", options.api_key_env, ": is not set"));
  }
  return key;
}

}  // namespace reembed
