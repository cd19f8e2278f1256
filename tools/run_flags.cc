// SPDX-License-Identifier: Apache-2.0
#include "tools/run_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "tools/commands.h"
#include "tools/option_layers.h"
#include "tools/with_layers.h"

namespace reembed {
CLI::App* AddJobCommand(CLI::App* app, const char* name, const char* what, const char* examples, Words words,
                        const std::function<ExitCode(const CommandOptions&, const Environment&)>& run,
                        std::function<ExitCode(const Environment&)>* chosen) {
  CLI::App* const command = app->add_subcommand(name, what);
  auto options = std::make_shared<CommandOptions>();
  AddJobOptions(command, options.get());
  command->footer(examples);
  command->callback([=] {
    if (options->progress == "json") options->json = true;
    *chosen = [=](const Environment& environment) {
      return WithLayers(
          {.name = name}, *options, SaidOptions(*command, words), environment,
          [&](const LayeredOptions& all, const Environment& with_files) { return run(all.options, with_files); });
    };
  });
  return command;
}

void AddRunAndPlan(CLI::App* app, Words words, std::function<ExitCode(const Environment&)>* chosen) {
  AddJobCommand(app, "run", "run a job: embed the rows and fill the targets; after a stop the same command resumes",
                "Examples:\n  reembed run --system agentloop --db memory.db\n  reembed run --source "
                "'sqlite:notes.db?table=notes&text=body&vector=embedding' --embedder builtin\n  reembed run --source "
                "jsonl:rows.jsonl --target faiss:rows.faiss --model text-embedding-3-large",
                words, RunCommand, chosen);
  AddJobCommand(app, "plan", "what `run` with the same arguments would do and cost; writes and sends nothing",
                "Examples:\n  reembed plan --system agentloop\n  reembed plan --system agentloop --all --tpm 1000000 "
                "--rpm 3000\n  reembed plan --source jsonl:rows.jsonl --target npy:rows.npy --json",
                words, PlanCommand, chosen);
}

}  // namespace reembed
