// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "io/embed/dialect.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/presets.h"
#include "tools/resolve_embedder.h"
#include "tools/sample/agentloop_sample.h"

namespace reembed {
namespace {

absl::Status MakeSample(const SystemsOptions& options) {
  if (options.name != "agentloop") {
    return absl::InvalidArgumentError(
        "--make-sample: only for agentloop: reembed systems agentloop --make-sample PATH");
  }
  return MakeAgentloopSample(
      options.make_sample,
      {.rows = options.rows, .text_bytes = options.text_bytes, .odd_rows = AgentloopSampleOptions::OddRows::kSome});
}

}  // namespace

ExitCode SystemsCommand(const SystemsOptions& options, const Environment& environment) {
  if (!options.make_sample.empty()) {
    if (absl::Status made = MakeSample(options); !made.ok()) return Fail("systems", made, false);
    std::cout << options.make_sample << ": " << Counted(options.rows, "message", "messages")
              << "; try: reembed plan --system " << options.name << " --db " << options.make_sample
              << " --embedder builtin" << std::endl;
    return kExitDone;
  }
  if (!options.name.empty()) {
    const absl::StatusOr<SystemPreset> system = FindSystem(options.name, environment);
    if (!system.ok()) return Fail("systems", system.status(), false);
    std::cout << "# " << system->file << "\n" << system->toml << std::flush;
    return kExitDone;
  }
  const absl::StatusOr<std::vector<SystemPreset>> systems = ListSystems(environment);
  if (!systems.ok()) return Fail("systems", systems.status(), false);
  for (const SystemPreset& system : *systems) {
    std::cout << system.name << std::string(system.name.size() < 14 ? 14 - system.name.size() : 1, ' ')
              << system.summary << "\n";
  }
  std::cout << "one of them as a start for your own: reembed systems NAME > ~/.config/reembed/systems/MINE.toml\n\n"
               "embedders (--embedder), and the variables that hold their keys:\n";
  for (const Dialect& dialect : Dialects()) {
    const char* const key = dialect.key_variables[0];
    std::cout << absl::StrFormat("%-12s  %s%s%s\n", dialect.name, dialect.title, key == nullptr ? "" : ", ",
                                 key == nullptr ? "" : key);
  }
  std::cout << absl::StrFormat("%-12s  %s", kBuiltinEmbedder, "in the program itself: no key, no network") << std::endl;
  return kExitDone;
}

}  // namespace reembed
