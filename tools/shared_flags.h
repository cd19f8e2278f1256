// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHARED_FLAGS_H_
#define REEMBED_TOOLS_SHARED_FLAGS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/options.h"

// What commands other than run have in common: flags that mean the same for all of them, and the variables of files
// that each runs with.
namespace reembed {

// What was asked for, ready to be done.
using Command = std::function<ExitCode(const Environment&)>;

// Where a key comes from, of a command whose other flags are few.
template <typename Options>
void AddKeyFlags(CLI::App* command, Options* options) {
  command->add_option("--api-key-env", options->api_key_env, "environment variable that holds the API key");
  command->add_option("--api-key-file", options->api_key_file,
                      "file that holds the API key; -: the first line of standard input");
  command->add_option("--api-key-cmd", options->api_key_cmd,
                      "command for the shell that prints the API key as its first line");
}

template <typename Options>
void AddEnvFileFlags(CLI::App* command, Options* options) {
  command->add_option("--env-file", options->env_file, "read variables from this file instead of .env");
  command->add_flag("--no-env-file", options->no_env_file,
                    "read no .env, nor the other files of variables of a system");
}

template <typename Options>
void AddProgressFlags(CLI::App* command, Options* options) {
  command
      ->add_option_function<std::string>(
          "--progress",
          [options](const std::string& word) {
            options->progress = word;
            // Lines of progress are of no use to a program that cannot read the rest.
            if (word == "json") options->json = true;
          },
          "auto, on, off or json")
      ->check(CLI::IsMember({"auto", "on", "off", "json"}));
  command->add_flag("--quiet", options->quiet, "say nothing but errors");
}

template <typename Options>
void AddConsentFlags(CLI::App* command, Options* options, const char* yes) {
  command->add_flag("--yes", options->yes, yes);
  command->add_flag("--no-input", options->no_input, "never ask, also at a terminal: what would be asked is refused");
}

// Runs a command with the variables of --env-file, or of .env where it is, added to the environment. `job`: `options`,
// and what the job's file says.
ExitCode WithEnvFile(const char* name, const CommandOptions& options, const absl::StatusOr<CommandOptions>& job,
                     const Environment& environment, const Command& run);

// For a command without a job file.
ExitCode WithEnvFile(const char* name, const CommandOptions& options, const Environment& environment,
                     const Command& run);

// What says which files of variables a finished job reads. One that is not there is reported where it is used.
absl::StatusOr<CommandOptions> OptionsOfJob(const std::string& directory, CommandOptions options);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHARED_FLAGS_H_
