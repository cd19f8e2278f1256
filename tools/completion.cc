// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <vector>

#include "tools/command_words.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/presets.h"
#include "tools/resolve.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// What a shell asks while somebody types: it wants words or nothing, and no message.
ExitCode PrintSystems(const Environment& environment) {
  const absl::StatusOr<std::vector<SystemPreset>> systems = ListSystems(environment);
  if (!systems.ok()) return kExitDone;
  for (const SystemPreset& system : *systems) std::cout << system.name << "\n";
  std::cout << std::flush;
  return kExitDone;
}

ExitCode PrintJobs(const Environment& environment) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(JobsFolder(environment), ignored)) {
    if (entry.is_directory(ignored)) std::cout << entry.path().string() << "\n";
  }
  std::cout << std::flush;
  return kExitDone;
}

}  // namespace

ExitCode CompletionCommand(const CLI::App& app, const std::string& what, const Environment& environment) {
  if (what == "systems") return PrintSystems(environment);
  if (what == "jobs") return PrintJobs(environment);
  const std::vector<CommandWords> all = AllCommandWords(app);
  std::cout << (what == "bash"   ? BashCompletion(all)
                : what == "zsh"  ? ZshCompletion(all)
                : what == "fish" ? FishCompletion(all)
                                 : ManPage(all, REEMBED_VERSION))
            << std::flush;
  return kExitDone;
}

}  // namespace reembed
