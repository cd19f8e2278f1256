// SPDX-License-Identifier: Apache-2.0
// Completion scripts, written from the words of the command. What is known only on the machine (systems, jobs) is asked
// of the command itself when somebody presses the key.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "tools/command_words.h"

namespace reembed {
namespace {

constexpr char kAskSystems[] = "reembed completion systems 2>/dev/null";
constexpr char kAskJobs[] = "reembed completion jobs 2>/dev/null";

std::string SingleQuoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

std::vector<std::string> NamesBelow(const std::vector<CommandWords>& all, const std::string& name) {
  std::vector<std::string> names;
  for (const CommandWords* const command : CommandsBelow(all, name)) {
    names.push_back(command->name.substr(name.empty() ? 0 : name.size() + 1));
  }
  return names;
}

std::vector<std::string> NamesOfFlags(const CommandWords& command) {
  std::vector<std::string> names;
  for (const FlagWords& flag : command.flags) names.insert(names.end(), flag.names.begin(), flag.names.end());
  return names;
}

// What stands at the place of an argument without a dash; empty: files.
std::vector<std::string> ArgumentValues(const std::vector<CommandWords>& all, const CommandWords& command) {
  if (command.has_commands) return NamesBelow(all, command.name);
  if (command.name == "help") return NamesBelow(all, "");
  return command.arguments.empty() ? std::vector<std::string>() : command.arguments.front().values;
}

bool TakesJob(const CommandWords& command) { return !command.arguments.empty() && command.arguments.front().is_job; }

bool TakesSystem(const CommandWords& command) { return command.name == "systems" && !command.arguments.empty(); }

// The arm of a `case` over "COMMAND FLAG" that completes the flag's value.
std::string BashValue(const CommandWords& command, const FlagWords& flag) {
  std::vector<std::string> patterns;
  for (const std::string& name : flag.names) patterns.push_back(SingleQuoted(absl::StrCat(command.name, " ", name)));
  std::string action;
  switch (flag.value) {
    case ValueKind::kNone:
      return "";
    case ValueKind::kWord:
      action = absl::StrCat("_reembed_words ", SingleQuoted(absl::StrJoin(flag.values, " ")));
      break;
    case ValueKind::kPlace:
      action = absl::StrCat("_reembed_words ", SingleQuoted(absl::StrJoin(flag.values, " ")),
                            "; _reembed_files; compopt -o nospace 2>/dev/null");
      break;
    case ValueKind::kSystem:
      action = absl::StrCat("_reembed_words \"$(", kAskSystems, ")\"; _reembed_files");
      break;
    case ValueKind::kPath:
      action = "_reembed_files";
      break;
    case ValueKind::kNumber:
      action = "compopt +o default 2>/dev/null";
      break;
  }
  return absl::StrCat("    ", absl::StrJoin(patterns, "|"), ") ", action, "; return ;;\n");
}

constexpr char kBashHead[] = R"END(# bash completion of reembed, made by `reembed completion bash`
_reembed_words() {
  local word
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$1" -- "$cur")
}
_reembed_files() {
  local file
  compopt -o filenames 2>/dev/null
  while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$cur")
}
_reembed() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= i
  COMPREPLY=()
  # bash parts words at = and :, as it does in --progress=on and in addresses of stores.
  if [[ $cur == : ]]; then cur=; _reembed_files; return; fi
  if [[ $prev == : ]]; then _reembed_files; return; fi
  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$command ${COMP_WORDS[i]}" in
)END";

// zsh's _arguments parts a specification at colons and brackets.
std::string ZshText(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}});
}

std::string ZshAction(const FlagWords& flag) {
  switch (flag.value) {
    case ValueKind::kNone:
      return "";
    case ValueKind::kWord:
      return absl::StrCat(":value:(", absl::StrJoin(flag.values, " "), ")");
    case ValueKind::kPlace:
      return absl::StrCat(":place:_reembed_known_places ",
                          absl::StrJoin(flag.values, " ", [](std::string* out, auto& value) {
                            absl::StrAppend(out, absl::StrReplaceAll(value, {{":", "\\:"}}));
                          }));
    case ValueKind::kSystem:
      return ":system:_reembed_known_systems";
    case ValueKind::kPath:
      return ":file:_files";
    case ValueKind::kNumber:
      return ":value: ";
  }
  return "";
}

std::vector<std::string> ZshSpecs(const std::vector<CommandWords>& all, const CommandWords& command) {
  std::vector<std::string> specs;
  for (const FlagWords& flag : command.flags) {
    for (const std::string& name : flag.names) {
      // Its value may stand behind =, too.
      const char* const joint = flag.value == ValueKind::kNone ? "" : absl::StartsWith(name, "--") ? "=" : "+";
      specs.push_back(SingleQuoted(
          absl::StrCat(flag.repeats ? "*" : "", name, joint, "[", ZshText(flag.help), "]", ZshAction(flag))));
    }
  }
  const std::vector<std::string> values = ArgumentValues(all, command);
  if (TakesJob(command)) {
    specs.push_back("'*:job:_reembed_known_jobs'");
  } else if (TakesSystem(command)) {
    specs.push_back("'1:system:_reembed_known_systems'");
  } else if (!values.empty()) {
    specs.push_back(SingleQuoted(absl::StrCat("*:word:(", absl::StrJoin(values, " "), ")")));
  } else if (!command.arguments.empty()) {
    specs.push_back(absl::StrCat("'*:", ZshText(command.arguments.front().name), ":_files'"));
  }
  return specs;
}

// Functions of one command and of what is below it.
void AddZshFunction(const std::vector<CommandWords>& all, const CommandWords& command, std::string* out) {
  const std::string function = absl::StrCat("_reembed", command.name.empty() ? "" : "_",
                                            absl::StrReplaceAll(command.name, {{" ", "_"}, {"-", "_"}}));
  absl::StrAppend(out, function, "() {\n");
  if (!command.has_commands) {
    absl::StrAppend(out, "  _arguments ", absl::StrJoin(ZshSpecs(all, command), " \\\n    "), "\n}\n");
    return;
  }
  absl::StrAppend(out,
                  "  local context state state_descr line\n  typeset -A opt_args\n  local -a commands\n  commands=(\n");
  for (const CommandWords* const below : CommandsBelow(all, command.name)) {
    const std::string name = below->name.substr(command.name.empty() ? 0 : command.name.size() + 1);
    absl::StrAppend(out, "    ", SingleQuoted(absl::StrCat(name, ":", below->help)), "\n");
  }
  absl::StrAppend(out, "  )\n  _arguments -C \\\n");
  for (const FlagWords& flag : command.flags) {
    for (const std::string& name : flag.names) {
      absl::StrAppend(out, "    ", SingleQuoted(absl::StrCat(name, "[", ZshText(flag.help), "]")), " \\\n");
    }
  }
  absl::StrAppend(out, "    '1:command:->command' '*::word:->word'\n  case $state in\n",
                  "    command) _describe command commands ;;\n    word)\n      case $words[1] in\n");
  for (const CommandWords* const below : CommandsBelow(all, command.name)) {
    const std::string name = below->name.substr(command.name.empty() ? 0 : command.name.size() + 1);
    absl::StrAppend(out, "        ", name, ") _reembed_", absl::StrReplaceAll(below->name, {{" ", "_"}, {"-", "_"}}),
                    " ;;\n");
  }
  absl::StrAppend(out, "      esac ;;\n  esac\n}\n");
}

constexpr char kZshHead[] = R"END(#compdef reembed
# zsh completion of reembed, made by `reembed completion zsh`
_reembed_known_systems() {
  local -a found
  found=(${(f)"$(reembed completion systems 2>/dev/null)"})
  compadd -a found
  _files
}
_reembed_known_jobs() {
  local -a found
  found=(${(f)"$(reembed completion jobs 2>/dev/null)"})
  compadd -a found
  _files -/
}
_reembed_known_places() {
  if compset -P '*:'; then _files; return; fi
  compadd -S '' -- "$@"
  _files
}
)END";

constexpr char kZshTail[] = R"END(if [ "$funcstack[1]" = "_reembed" ]; then
  _reembed "$@"
else
  compdef _reembed reembed
fi
)END";

std::string FishQuoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

std::string FishFlag(const std::string& at, const FlagWords& flag) {
  std::string line = absl::StrCat("complete -c reembed -n ", FishQuoted(at));
  for (const std::string& name : flag.names) {
    absl::StrAppend(&line, name.substr(0, 2) == "--" ? " -l " : " -s ", name.substr(name.find_first_not_of('-')));
  }
  switch (flag.value) {
    case ValueKind::kNone:
      break;
    case ValueKind::kWord:
      absl::StrAppend(&line, " -x -a ", FishQuoted(absl::StrJoin(flag.values, " ")));
      break;
    case ValueKind::kPlace:
      absl::StrAppend(&line, " -r -F -a ", FishQuoted(absl::StrJoin(flag.values, " ")));
      break;
    case ValueKind::kSystem:
      absl::StrAppend(&line, " -r -F -a ", FishQuoted(absl::StrCat("(", kAskSystems, ")")));
      break;
    case ValueKind::kPath:
      absl::StrAppend(&line, " -r -F");
      break;
    case ValueKind::kNumber:
      absl::StrAppend(&line, " -x");
      break;
  }
  return absl::StrCat(line, " -d ", FishQuoted(flag.help), "\n");
}

constexpr char kFishHead[] = R"END(# fish completion of reembed, made by `reembed completion fish`
function __reembed_at
    set -l words (commandline -opc)
    test (count $words) -gt (count $argv); or return 1
    test (count $argv) -eq 0; and test (count $words) -gt 1; and return 1
    for i in (seq (count $argv))
        test $words[(math $i + 1)] = $argv[$i]; or return 1
    end
end
)END";

}  // namespace

std::string BashCompletion(const std::vector<CommandWords>& all) {
  std::string out = kBashHead;
  for (const CommandWords& command : all) {
    if (command.name.empty()) continue;
    // "bench endpoint" is met as "bench" and then "endpoint".
    const bool below = command.name.find(' ') != std::string::npos;
    absl::StrAppend(&out, "      ", SingleQuoted(absl::StrCat(below ? "" : " ", command.name)),
                    ") command=", SingleQuoted(command.name), " ;;\n");
  }
  absl::StrAppend(&out, "    esac\n  done\n  case \"$command $prev\" in\n");
  for (const CommandWords& command : all) {
    for (const FlagWords& flag : command.flags) absl::StrAppend(&out, BashValue(command, flag));
  }
  absl::StrAppend(&out, "  esac\n  if [[ $cur == -* ]]; then\n    case $command in\n");
  for (const CommandWords& command : all) {
    absl::StrAppend(&out, "      ", SingleQuoted(command.name), ") _reembed_words ",
                    SingleQuoted(absl::StrJoin(NamesOfFlags(command), " ")), " ;;\n");
  }
  absl::StrAppend(&out, "    esac\n    return\n  fi\n  case $command in\n");
  for (const CommandWords& command : all) {
    std::string action;
    if (const std::vector<std::string> values = ArgumentValues(all, command); !values.empty()) {
      action = absl::StrCat("_reembed_words ", SingleQuoted(absl::StrJoin(values, " ")));
    } else if (TakesJob(command)) {
      action = absl::StrCat("_reembed_words \"$(", kAskJobs, ")\"; _reembed_files");
    } else if (TakesSystem(command)) {
      action = absl::StrCat("_reembed_words \"$(", kAskSystems, ")\"");
    } else {
      continue;  // files, which bash looks for where there is no answer
    }
    absl::StrAppend(&out, "    ", SingleQuoted(command.name), ") ", action, " ;;\n");
  }
  absl::StrAppend(&out, "  esac\n}\ncomplete -o default -F _reembed reembed\n");
  return out;
}

std::string ZshCompletion(const std::vector<CommandWords>& all) {
  std::string out = kZshHead;
  for (const CommandWords& command : all) AddZshFunction(all, command, &out);
  return out + kZshTail;
}

std::string FishCompletion(const std::vector<CommandWords>& all) {
  std::string out = kFishHead;
  for (const CommandWords& command : all) {
    const std::string at = absl::StrCat("__reembed_at", command.name.empty() ? "" : " ", command.name);
    for (const CommandWords* const below : CommandsBelow(all, command.name)) {
      absl::StrAppend(&out, "complete -c reembed -n ", FishQuoted(at), " -f -a ",
                      FishQuoted(below->name.substr(command.name.empty() ? 0 : command.name.size() + 1)), " -d ",
                      FishQuoted(below->help), "\n");
    }
    for (const FlagWords& flag : command.flags) absl::StrAppend(&out, FishFlag(at, flag));
    std::string values = absl::StrJoin(ArgumentValues(all, command), " ");
    if (TakesJob(command)) values = absl::StrCat("(", kAskJobs, ")");
    if (TakesSystem(command)) values = absl::StrCat("(", kAskSystems, ")");
    if (!command.has_commands && !values.empty()) {
      absl::StrAppend(&out, "complete -c reembed -n ", FishQuoted(at), TakesJob(command) ? "" : " -f", " -a ",
                      FishQuoted(values), "\n");
    }
  }
  return out;
}

}  // namespace reembed
