// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_OPTION_TABLE_H_
#define REEMBED_TOOLS_OPTION_TABLE_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tools/options.h"

// One table for flags, variables, job files, files of settings, completions and the man page, so that they cannot drift
// apart.
namespace reembed {

// Who may say an option, besides a flag and a variable of the environment.
enum class OptionScope {
  kJob,      // job files and files of settings: it is a part of what a job is
  kHow,      // files of settings
  kOwn,      // of those only the user's and the system's: it runs a command, listens, or writes a file
  kCommand,  // nobody: it is a consent, or what one command is asked for
};

struct OptionEntry {
  const char* name;
  std::string help;
  const char* group;
  std::variant<std::string CommandOptions::*, std::vector<std::string> CommandOptions::*, int CommandOptions::*,
               int64_t CommandOptions::*, double CommandOptions::*, bool CommandOptions::*>
      member;
  OptionScope scope = OptionScope::kJob;
  std::vector<std::string> words = {};  // it is one of them; empty: any
};

const std::vector<OptionEntry>& OptionEntries();

// Null: there is none.
const OptionEntry* FindOption(absl::string_view name);

// "REEMBED_MAX_SPEND" of "max-spend".
std::string VariableOfOption(absl::string_view name);

bool IsUnset(const OptionEntry& entry, const CommandOptions& options);

void CopyOption(const OptionEntry& entry, const CommandOptions& from, CommandOptions* to);

// Its values as a command line has them, each for a flag of its own: a number as the shortest text that is the same
// number, a switch as true. Empty: it is not said.
std::vector<std::string> OptionValues(const OptionEntry& entry, const CommandOptions& options);

// The option as a variable has it. Errors: kInvalidArgument (what was expected, and what came).
absl::Status SetOption(const OptionEntry& entry, absl::string_view text, CommandOptions* options);

// Whether a value is one of the entry's words. Errors: kInvalidArgument.
absl::Status CheckOptionWord(const OptionEntry& entry, absl::string_view value);

}  // namespace reembed

#endif  // REEMBED_TOOLS_OPTION_TABLE_H_
