// SPDX-License-Identifier: Apache-2.0
#include "tools/with_layers.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "tools/api_key.h"
#include "tools/option_table.h"
#include "tools/output.h"

namespace reembed {
namespace {

CLI::Option* FlagOf(CLI::App* command, const OptionEntry& entry) {
  return command->get_option_no_throw(absl::StrCat("--", entry.name));
}

// What a backup saves is what a run with the same files reads.
bool SaysWhatIsSaved(const CLI::App& command, const OptionEntry& entry) {
  if (command.get_name() != "backup") return false;
  return absl::c_linear_search(std::vector<absl::string_view>{"system", "db", "source"}, entry.name);
}

// Not where the key is: the API of a finished job is another than that of the files, which must not get its key.
bool IsTakenBy(CLI::App* command, const OptionEntry& entry) {
  if (entry.scope == OptionScope::kCommand || absl::StartsWith(entry.name, "api-key-")) return false;
  // It changes nothing: no reason to refuse `status` for what a file says of other commands.
  if (FlagOf(command, entry) == nullptr || absl::string_view(entry.name) == "no-color") return false;
  return IsSharedFlag(*command, entry.name) || SaysWhatIsSaved(*command, entry);
}

}  // namespace

ExitCode WithLayers(const LayeredCommand& command, const CommandOptions& given, OptionOrigins said,
                    const Environment& environment,
                    const std::function<ExitCode(const LayeredOptions&, const Environment&)>& run) {
  Environment with_files = environment;
  absl::StatusOr<LayeredOptions> all = LayerOptions(given, std::move(said), &with_files, command.takes);
  if (!all.ok()) return Fail(command.name, all.status(), given.json);
  // Lines of progress are of no use to a program that cannot read the rest.
  if (all->options.progress == "json") all->options.json = true;
  for (const std::string& note : all->notes) {
    if (!all->options.quiet) Note(note, all->options.json);
  }
  if (!command.needs_key) return run(*all, with_files);
  CommandOptions key = given;
  key.api_key_cmd = all->options.api_key_cmd;
  key.source = all->options.source;
  if (absl::Status asked = AskForApiKey(key, &with_files); !asked.ok()) {
    return Fail(command.name, asked, all->options.json);
  }
  return run(*all, with_files);
}

absl::Status TakeSharedSettings(CLI::App* command, Words words) {
  if (command->get_option_no_throw("--embedder") != nullptr) return absl::OkStatus();
  const OptionFilter takes = [command](const OptionEntry& entry) { return IsTakenBy(command, entry); };
  if (absl::c_none_of(OptionEntries(), takes)) return absl::OkStatus();
  // Who does not say which file of variables is read has none read for the options.
  CommandOptions given{.no_env_file = command->get_option_no_throw("--env-file") == nullptr};
  OptionOrigins said = SaidOptions(*command, words);
  for (const char* const name : {"env-file", "no-env-file"}) {
    if (said.find(name) == said.end()) continue;
    const std::string flag = absl::StrCat("--", name);
    ABSL_RETURN_IF_ERROR(SetOption(*FindOption(name), command->get_option(flag)->results().back(), &given));
  }
  Environment environment;
  ABSL_ASSIGN_OR_RETURN(const LayeredOptions all, LayerOptions(given, std::move(said), &environment, takes));
  for (const OptionEntry& entry : OptionEntries()) {
    const auto origin = all.origins.find(entry.name);
    if (origin == all.origins.end() || origin->second.layer < OptionLayer::kEnvFile || !takes(entry)) continue;
    const std::vector<std::string> values = OptionValues(entry, all.options);
    if (values.empty()) continue;  // what a nearer file puts off
    CLI::Option* const flag = FlagOf(command, entry);
    for (const std::string& value : values) flag->add_result(value);
    try {
      flag->run_callback();
    } catch (const CLI::Error& error) {
      return absl::InvalidArgumentError(absl::StrCat(origin->second.place, ": ", error.what()));
    }
  }
  if (all.options.quiet || absl::c_linear_search(words, "--quiet")) return absl::OkStatus();
  for (const std::string& note : all.notes) Note(note, WantsJson(words));
  return absl::OkStatus();
}

}  // namespace reembed
