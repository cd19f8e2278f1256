// SPDX-License-Identifier: Apache-2.0
#include "tools/command_words.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/registry.h"
#include "tools/resolve_embedder.h"

namespace reembed {
namespace {

// "TEXT:{auto,on,off}" is how CLI11 describes a value that is one of several.
std::vector<std::string> ValuesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{'), end = type.rfind('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  return absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',');
}

bool TakesNumber(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  return absl::StartsWith(type, "INT") || absl::StartsWith(type, "UINT") || absl::StartsWith(type, "FLOAT");
}

bool NamesFile(const std::string& flag) {
  for (const char* const name : {"--db", "--job", "--tokenizer", "--texts", "--to", "--index", "--make-sample"}) {
    if (flag == name) return true;
  }
  return absl::EndsWith(flag, "-file");
}

void FindValue(const CLI::Option& option, FlagWords* flag) {
  if (option.get_items_expected_max() == 0) return;
  const std::string& name = flag->names.front();
  flag->values = ValuesOf(option);
  flag->value = ValueKind::kNumber;
  if (TakesNumber(option)) return;
  if (!flag->values.empty()) {
    flag->value = ValueKind::kWord;
  } else if (name == "--embedder") {
    flag->value = ValueKind::kWord;
    flag->values = EmbedderNames();
  } else if (name == "--system") {
    flag->value = ValueKind::kSystem;
  } else if (name == "--source" || name == "--target") {
    flag->value = ValueKind::kPlace;
    flag->values = NamesOfKinds([](const StoreKind& kind) { return !kind.is_stream; });
    for (std::string& scheme : flag->values) scheme += ":";
  } else if (NamesFile(name)) {
    flag->value = ValueKind::kPath;
  }
}

FlagWords FlagOf(const CLI::Option& option) {
  FlagWords flag{.help = option.get_description(), .group = option.get_group(), .variable = option.get_envname()};
  for (const std::string& name : option.get_lnames()) flag.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) flag.names.push_back("-" + name);
  // Of a list each flag has one value.
  flag.repeats = option.get_items_expected_max() >= CLI::detail::expected_max_vector_size;
  FindValue(option, &flag);
  return flag;
}

void AddWordsOf(const CLI::App& app, const std::string& name, std::vector<CommandWords>* all) {
  CommandWords words{.name = name, .help = app.get_description(), .footer = app.get_footer()};
  for (const CLI::Option* const option : app.get_options()) {
    if (option->get_group().empty()) continue;
    if (option->nonpositional()) {
      words.flags.push_back(FlagOf(*option));
      continue;
    }
    words.arguments.push_back({.name = option->get_single_name(),
                               .help = option->get_description(),
                               .repeats = option->get_items_expected_max() >= CLI::detail::expected_max_vector_size,
                               .is_job = option->get_single_name() == "job",
                               .values = ValuesOf(*option)});
  }
  const std::vector<const CLI::App*> below =
      app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
  words.has_commands = !below.empty();
  all->push_back(std::move(words));
  for (const CLI::App* const command : below) {
    AddWordsOf(*command, absl::StrCat(name, name.empty() ? "" : " ", command->get_name()), all);
  }
}

}  // namespace

std::vector<CommandWords> AllCommandWords(const CLI::App& app) {
  std::vector<CommandWords> all;
  AddWordsOf(app, "", &all);
  return all;
}

std::vector<const CommandWords*> CommandsBelow(const std::vector<CommandWords>& all, const std::string& name) {
  std::vector<const CommandWords*> below;
  const std::string prefix = name.empty() ? "" : name + " ";
  for (const CommandWords& command : all) {
    const bool deeper = command.name.size() > prefix.size() && absl::StartsWith(command.name, prefix);
    if (deeper && !absl::StrContains(command.name.substr(prefix.size()), " ")) below.push_back(&command);
  }
  return below;
}

}  // namespace reembed
