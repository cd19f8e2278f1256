// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_COMMAND_WORDS_H_
#define REEMBED_TOOLS_COMMAND_WORDS_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

// All words that a command line may have, read from the declared flags, for what tells people of them: completions of
// shells and the man page.
namespace reembed {

// What a value is, as far as a shell can help with it.
enum class ValueKind {
  kNone,  // it is a switch
  kWord,  // one of FlagWords::values
  kPath,
  kPlace,   // a URI of a store, or a path
  kSystem,  // a memory system that is known
  kNumber,  // or a text that no shell can guess
};

struct FlagWords {
  std::vector<std::string> names;  // with their dashes, long ones first
  std::string help;
  std::string group;     // heading in --help
  std::string variable;  // of the environment; empty: none
  ValueKind value = ValueKind::kNone;
  std::vector<std::string> values;
  bool repeats = false;
};

struct ArgumentWords {
  std::string name;
  std::string help;
  bool repeats = false;
  bool is_job = false;  // a job directory
  std::vector<std::string> values;
};

struct CommandWords {
  std::string name;  // "run", "bench endpoint"; empty: the program itself
  std::string help;
  std::string footer;
  std::vector<FlagWords> flags;
  std::vector<ArgumentWords> arguments;
  bool has_commands = false;
};

// The program itself first, then its commands, each followed by those below it.
std::vector<CommandWords> AllCommandWords(const CLI::App& app);

// Names of the commands right below `name` with what they do.
std::vector<const CommandWords*> CommandsBelow(const std::vector<CommandWords>& all, const std::string& name);

std::string BashCompletion(const std::vector<CommandWords>& all);
std::string ZshCompletion(const std::vector<CommandWords>& all);
std::string FishCompletion(const std::vector<CommandWords>& all);

// The man page reembed(1) as roff.
std::string ManPage(const std::vector<CommandWords>& all, const std::string& version);

}  // namespace reembed

#endif  // REEMBED_TOOLS_COMMAND_WORDS_H_
