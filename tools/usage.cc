// SPDX-License-Identifier: Apache-2.0
#include "tools/usage.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/location.h"
#include "tools/option_table.h"
#include "tools/said_texts.h"

namespace reembed {
namespace {

constexpr char kPrefix[] = "REEMBED_";
// Beside those of flags.
constexpr const char* kOtherVariables[] = {"REEMBED_DATA", "REEMBED_CERTIFI", "REEMBED_COMMAND"};

// Flags of run that mean the same for every command that has them.
constexpr const char* kSharedFlags[] = {
    "json",         "quiet",       "progress",     "no-input",        "no-color", "env-file", "no-env-file",
    "api-key-file", "api-key-cmd", "db-token-env", "db-password-env", "proxy",    "ca-file"};

// The deepest subcommand that was understood.
const CLI::App& ScopeOf(const CLI::App& app) {
  const CLI::App* scope = &app;
  while (!scope->get_subcommands().empty()) scope = scope->get_subcommands().front();
  return *scope;
}

std::vector<const CLI::App*> SubcommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::vector<std::string> NamesOf(const std::vector<const CLI::App*>& commands) {
  std::vector<std::string> names;
  names.reserve(commands.size());
  for (const CLI::App* const command : commands) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> FlagsOf(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* const option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

// "index build": with the commands that it stands below.
std::string NameOfCommand(const CLI::App& command) {
  std::string name;
  for (const CLI::App* scope = &command; scope->get_parent() != nullptr; scope = scope->get_parent()) {
    name = absl::StrCat(scope->get_name(), name.empty() ? "" : " ", name);
  }
  return name;
}

std::string DidYouMean(const std::string& near) {
  return near.empty() ? "" : absl::StrCat("; did you mean `", near, "`?");
}

// The subcommand that has this flag; null: none.
const CLI::App* OwnerOf(const std::string& flag, const CLI::App& app) {
  for (const CLI::App* const command : SubcommandsOf(app)) {
    const std::vector<std::string> flags = FlagsOf(*command);
    if (std::find(flags.begin(), flags.end(), flag) != flags.end()) return command;
    if (const CLI::App* const deeper = OwnerOf(flag, *command); deeper != nullptr) return deeper;
  }
  return nullptr;
}

std::string UnknownFlag(const std::string& word, const CLI::App& app, const CLI::App& scope) {
  const std::string flag = word.substr(0, word.find('='));
  const std::string command = CommandOf(app);
  const std::string of = command.empty() ? "" : absl::StrCat(" of `", command, "`");
  const std::string near = NearestName(flag, FlagsOf(scope));
  if (!near.empty()) return absl::StrCat(flag, " is no flag", of, DidYouMean(near));
  if (const CLI::App* const owner = OwnerOf(flag, app); owner != nullptr) {
    return command.empty()
               ? absl::StrCat(flag, " belongs behind a command, as in `reembed ", NameOfCommand(*owner), " ", flag, "`")
               : absl::StrCat(flag, " is no flag", of, ", but of `", NameOfCommand(*owner), "`; `reembed ", command,
                              " --help` lists its own");
  }
  return absl::StrCat(flag, " is no flag", of, "; `reembed", command.empty() ? "" : " ", command,
                      " --help` lists those that are");
}

std::string UnknownCommand(const std::string& word, const CLI::App& scope) {
  const std::vector<std::string> names = NamesOf(SubcommandsOf(scope));
  const std::string near = NearestName(word, names);
  return absl::StrCat("`", word, "` is no command",
                      near.empty() ? absl::StrCat("; there are ", absl::StrJoin(names, ", ")) : DidYouMean(near));
}

// What the value came by: its flag, or the variable.
std::string NameOf(const CLI::Option& option, Words words) {
  const std::string variable = option.get_envname();
  const bool by_variable = !variable.empty() && std::getenv(variable.c_str()) != nullptr && !IsGiven(option, words);
  return by_variable ? absl::StrCat("the variable ", variable) : option.get_name();
}

// What CLI11 says of a value begins with the flag's name, or has it at its end.
std::string WrongValue(const CLI::App& scope, const CLI::ParseError& error, Words words) {
  std::string said = error.what();
  for (const CLI::Option* const option : scope.get_options()) {
    const std::string name = option->get_name();
    if (absl::StartsWith(said, name + ":")) {
      return absl::StrCat(NameOf(*option, words), said.substr(name.size()));
    }
    if (!absl::StrContains(said, absl::StrCat(": ", name, " = "))) continue;
    const bool is_switch = option->get_items_expected_max() == 0;
    return absl::StrCat(NameOf(*option, words), ": expected ", is_switch ? "true or false" : "another kind of value",
                        ", got `", absl::StrJoin(option->results(), " "), "`");
  }
  return said;
}

void AddVariablesOf(const CLI::App& app, std::set<std::string>* names) {
  for (const CLI::Option* const option : app.get_options()) {
    if (!option->get_envname().empty()) names->insert(option->get_envname());
  }
  for (const CLI::App* const command : SubcommandsOf(app)) AddVariablesOf(*command, names);
}

// Whether Kubernetes has made the variable, of a service that stands beside this container: NAME_SERVICE_HOST,
// NAME_PORT=tcp://10.0.0.7:8080 and so on. Nobody has said it to this program, whatever the service is called.
bool IsServiceLink(const std::string& variable) {
  for (const std::string mark : {"_SERVICE_HOST", "_SERVICE_PORT", "_PORT"}) {
    for (size_t at = variable.find(mark); at != std::string::npos; at = variable.find(mark, at + 1)) {
      if (std::getenv(absl::StrCat(variable.substr(0, at), "_SERVICE_HOST").c_str()) == nullptr) continue;
      const absl::string_view rest = absl::string_view(variable).substr(at + mark.size());
      if (absl::StartsWith(rest, "_")) return true;
      const char* const value = std::getenv(variable.c_str());
      const bool is_address = value != nullptr && absl::StrContains(value, "://");
      if (rest.empty() && (mark != "_PORT" || is_address)) return true;
    }
  }
  return false;
}

}  // namespace

bool IsGiven(const CLI::Option& option, Words words) {
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    const std::string flag = word.substr(0, word.find('='));
    if (absl::StartsWith(flag, "--")) return option.check_lname(flag.substr(2));
    return absl::StartsWith(flag, "-") && option.check_sname(flag.substr(1));
  });
}

bool AsksForHelp(Words words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  return std::any_of(words.begin(), end, [](const std::string& word) { return word == "--help" || word == "-h"; });
}

void AcceptNoColor(CLI::App* app) {
  constexpr char kFlag[] = "--no-color";
  const std::vector<CLI::App*> commands = app->get_subcommands([](CLI::App*) { return true; });
  if (commands.empty() && app->get_option_no_throw(kFlag) == nullptr) {
    app->add_flag(kFlag, FindOption("no-color")->help);
  }
  for (CLI::App* const command : commands) AcceptNoColor(command);
}

bool IsSharedFlag(const CLI::App& command, absl::string_view name) {
  if (name == "api-key-env") return command.get_option_no_throw("--api-key-file") != nullptr;
  return std::any_of(std::begin(kSharedFlags), std::end(kSharedFlags),
                     [&](const char* shared) { return name == shared; });
}

CLI::App* AskedCommand(CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return app;
}

void NameVariables(CLI::App* app) {
  for (CLI::Option* const option : app->get_options()) {
    if (!option->nonpositional() || option->get_lnames().empty() || !option->get_envname().empty()) continue;
    const std::string& name = option->get_lnames().front();
    if (name == "help" || name == "version") continue;
    const std::string command = NameOfCommand(*app);
    const bool alone = command.empty() || IsSharedFlag(*app, name);
    const std::string variable =
        VariableOfOption(alone ? name : absl::StrReplaceAll(absl::StrCat(command, "-", name), {{" ", "-"}}));
    if (!IsServiceLink(variable)) option->envname(variable);
  }
  for (CLI::App* const command : app->get_subcommands([](CLI::App*) { return true; })) NameVariables(command);
}

bool WantsJson(Words words) {
  for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    if (words[i] == "--json" || words[i] == "--progress=json") return true;
    if (words[i] == "--progress" && i + 1 < words.size() && words[i + 1] == "json") return true;
  }
  const auto is = [](const char* variable, std::initializer_list<const char*> values) {
    const char* const value = std::getenv(variable);
    return value != nullptr &&
           std::any_of(values.begin(), values.end(), [&](const char* v) { return absl::EqualsIgnoreCase(v, value); });
  };
  return is("REEMBED_JSON", {"1", "true", "yes", "on"}) || is("REEMBED_PROGRESS", {"json"});
}

std::string CommandOf(const CLI::App& app) {
  std::string command;
  for (const CLI::App* scope = &app; !scope->get_subcommands().empty();) {
    scope = scope->get_subcommands().front();
    absl::StrAppend(&command, command.empty() ? "" : " ", scope->get_name());
  }
  return command;
}

absl::Status UsageError(const CLI::App& app, const CLI::ParseError& error, Words words) {
  const CLI::App& scope = ScopeOf(app);
  // What is left over says more than what is missing for it.
  const std::vector<std::string> left = app.remaining(/*recurse=*/true);
  const auto is_flag = [](const std::string& word) { return word.size() > 1 && word[0] == '-' && word != "--"; };
  const std::vector<const CLI::App*> commands = SubcommandsOf(scope);
  // The flags of a command that is not known are no news.
  if (!commands.empty() && !left.empty() && !is_flag(left.front())) {
    return absl::InvalidArgumentError(UnknownCommand(left.front(), scope));
  }
  if (const auto flag = std::find_if(left.begin(), left.end(), is_flag); flag != left.end()) {
    return absl::InvalidArgumentError(UnknownFlag(*flag, app, scope));
  }
  if (!commands.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("say what to do: ", absl::StrJoin(NamesOf(commands), ", "),
                                                   "; `reembed ", CommandOf(app), CommandOf(app).empty() ? "" : " ",
                                                   "--help` explains them"));
  }
  if (!left.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("`", left.front(), "` is one word too many; `reembed ",
                                                   CommandOf(app), " --help` shows what belongs where"));
  }
  return absl::InvalidArgumentError(WrongValue(scope, error, words));
}

absl::Status CheckNoEmptyValue(const CLI::App& app) {
  for (const CLI::Option* const option : ScopeOf(app).get_options()) {
    if (option->get_items_expected_max() == 0 || option->count() == 0) continue;
    for (const std::string& value : option->results()) {
      if (!value.empty()) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          option->get_name(), ": the value is empty; is a variable of the shell not set? leave it out if nothing is ",
          "meant"));
    }
  }
  return absl::OkStatus();
}

void ForgetServiceLinks() {
  constexpr absl::string_view kHost = "_SERVICE_HOST";
  std::vector<std::string> names;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const absl::string_view assignment = *entry;
    names.emplace_back(assignment.substr(0, assignment.find('=')));
  }
  for (const std::string& host : names) {
    if (!absl::StartsWith(host, kPrefix) || !absl::EndsWith(host, kHost)) continue;
    const std::string service = host.substr(0, host.size() - kHost.size());
    for (const std::string& name : names) {
      const char* const value = std::getenv(name.c_str());
      const bool is_port = name == service + "_PORT" && value != nullptr && absl::StrContains(value, "://");
      if (name == host || is_port || absl::StartsWith(name, service + "_SERVICE_PORT") ||
          absl::StartsWith(name, service + "_PORT_")) {
        unsetenv(name.c_str());
      }
    }
  }
}

std::vector<std::string> UnreadVariables(const CLI::App& app, Words words) {
  std::set<std::string> known(std::begin(kOtherVariables), std::end(kOtherVariables));
  AddVariablesOf(app, &known);
  std::vector<std::string> notes;
  std::optional<SaidTexts> said;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string assignment = *entry;
    const std::string name = assignment.substr(0, assignment.find('='));
    if (!absl::StartsWith(name, kPrefix) || known.count(name) > 0 || IsServiceLink(name)) continue;
    // Flags may name a variable of any name, and so may a job file.
    if (!said.has_value()) said.emplace(words);
    if (said->Has(name)) continue;
    const std::string near = NearestName(name, std::vector<std::string>(known.begin(), known.end()));
    notes.push_back(absl::StrCat("nobody reads the variable ", name,
                                 near.empty() ? "; `reembed run --help` lists those that are read" : DidYouMean(near)));
  }
  std::sort(notes.begin(), notes.end());
  return notes;
}

absl::StatusOr<const CLI::App*> FindCommand(const CLI::App& app, Words names) {
  const CLI::App* found = &app;
  for (const std::string& name : names) {
    const std::vector<const CLI::App*> commands = SubcommandsOf(*found);
    const auto next = std::find_if(commands.begin(), commands.end(),
                                   [&](const CLI::App* command) { return command->get_name() == name; });
    if (next == commands.end()) return absl::InvalidArgumentError(UnknownCommand(name, *found));
    found = *next;
  }
  return found;
}

CLI::Validator NotNegative() {
  return CLI::Validator(
      [](std::string& text) {
        double number;
        const bool good = absl::SimpleAtod(text, &number) && number >= 0;
        return good ? std::string() : absl::StrCat("expected a number, 0 or more, got `", text, "`");
      },
      "");
}

CLI::Validator WholeNotNegative() {
  return CLI::Validator(
      [](std::string& text) {
        int64_t number;
        const bool good = absl::SimpleAtoi(text, &number) && number >= 0;
        return good ? std::string() : absl::StrCat("expected a whole number, 0 or more, got `", text, "`");
      },
      "");
}

}  // namespace reembed
