// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_USAGE_H_
#define REEMBED_TOOLS_USAGE_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

// What a command line means, and what is said of one that means nothing.
namespace reembed {

// The words behind the program's name.
using Words = absl::Span<const std::string>;

// Whether standard output is to be JSON lines: also for what goes wrong before the words are understood.
bool WantsJson(Words words);

// Whether the option stands among the words; one that has a value and does not has it from its variable.
bool IsGiven(const CLI::Option& option, Words words);

// Whether these words ask how a command is used: also where a value among them, or in a variable, is wrong.
bool AsksForHelp(Words words);

// "bench endpoint": the subcommands that were understood; empty: none.
std::string CommandOf(const CLI::App& app);

// kInvalidArgument, in one line: the word that was not understood, and the nearest one that would have been; of a value
// the flag, or the variable that it came from.
absl::Status UsageError(const CLI::App& app, const CLI::ParseError& error, Words words);

// A value that was given and is empty mostly is a shell variable that is not set. What it stood for would be taken for
// not said, and that is something else. Errors: kInvalidArgument (names the flag).
absl::Status CheckNoEmptyValue(const CLI::App& app);

// Gives every command that has none the flag --no-color, which switches nothing off: who writes it into a script wants
// no colours, and gets none.
void AcceptNoColor(CLI::App* app);

// Gives every flag of every command a variable that has none yet: REEMBED_SEARCH_TOP of `search --top`. Flags that mean
// the same for all commands share that of run: REEMBED_JSON. Others do not, as one that is set for run would change
// what another command reads, writes or drops.
void NameVariables(CLI::App* app);

// Whether the flag of this name means for `command` what it means for every command that has it, and for run.
bool IsSharedFlag(const CLI::App& command, absl::string_view name);

// The subcommand that was asked for, the deepest; the app itself if there was none.
CLI::App* AskedCommand(CLI::App* app);

// Kubernetes gives each container variables of every service beside it, NAME_SERVICE_HOST, NAME_PORT=tcp://... and so
// on. Takes those away whose names begin as ours do: nobody has said them to this program. Before there are threads.
void ForgetServiceLinks();

// Variables of the environment that look as if they were meant for this program, and that nobody reads: a line for
// each.
std::vector<std::string> UnreadVariables(const CLI::App& app, Words words);

// The subcommand that these words name, as `help` is asked about it; no words: the app itself.
// Errors: kInvalidArgument (no such one; names the nearest).
absl::StatusOr<const CLI::App*> FindCommand(const CLI::App& app, Words names);

// For numbers, so that CLI11 does not answer with its own limits.
CLI::Validator NotNegative();
CLI::Validator WholeNotNegative();

}  // namespace reembed

#endif  // REEMBED_TOOLS_USAGE_H_
