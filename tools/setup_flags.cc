// SPDX-License-Identifier: Apache-2.0
#include "tools/setup_flags.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/commands.h"
#include "tools/option_layers.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/run_flags.h"
#include "tools/shared_flags.h"

namespace reembed {
namespace {

void AddSystems(CLI::App* app, Command* chosen) {
  CLI::App* const command =
      app->add_subcommand("systems", "list the known memory systems, or print one of them as a preset");
  auto options = std::make_shared<SystemsOptions>();
  command->add_option("name", options->name, "print this preset");
  command->add_option("--make-sample", options->make_sample, "make a sample database at this path");
  command->add_option("--rows", options->rows, "messages in the sample")->check(CLI::PositiveNumber);
  command->add_option("--text-bytes", options->text_bytes, "average length of their texts; 0: like conversations")
      ->check(NotNegative());
  command->footer(
      "Examples:\n  reembed systems\n  reembed systems agentloop\n  reembed systems agentloop --make-sample sample.db "
      "--rows 2000");
  command->callback([=] { *chosen = [=](const Environment& env) { return SystemsCommand(*options, env); }; });
}

void AddDemo(CLI::App* app, Command* chosen) {
  CLI::App* const command = app->add_subcommand(
      "demo", "make a sample database of 2,000 messages, embed, index and search it; no key, no network");
  auto options = std::make_shared<DemoOptions>();
  command->add_option("folder", options->folder, "folder to create for it; default: reembed-demo");
  command->footer("Examples:\n  reembed demo\n  reembed demo /tmp/reembed-demo");
  command->callback(
      [=] { *chosen = [=](const Environment& environment) { return DemoCommand(*options, environment); }; });
}

void AddDoctorAndPaths(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const doctor = AddJobCommand(
      app, "doctor", "check this machine, and with the flags of run also its API and stores; sends at most one text",
      "Examples:\n  reembed doctor\n  reembed doctor --embedder openai --model text-embedding-3-small\n  reembed "
      "doctor "
      "--system agentloop --json",
      words, DoctorCommand, chosen);
  doctor->get_option("job-file")->description("a job file, as for run: its API and stores are checked");
  CLI::App* const paths =
      app->add_subcommand("paths", "where settings, jobs, presets, variables and certificates are found");
  auto json = std::make_shared<bool>(false);
  paths->add_flag("--json", *json, "JSON lines on standard output");
  paths->callback([=] { *chosen = [=](const Environment& environment) { return PathsCommand(*json, environment); }; });
  CLI::App* const completion = app->add_subcommand("completion", "print the completions for a shell, or the man page");
  auto what = std::make_shared<std::string>();
  completion->add_option("what", *what, "bash, zsh, fish, or man")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish", "man", "systems", "jobs"}));
  completion->footer(
      "Examples:\n  source <(reembed completion bash)\n  reembed completion zsh > ~/.zfunc/_reembed\n  reembed "
      "completion fish > ~/.config/fish/completions/reembed.fish\n  reembed completion man | man -l -");
  completion->callback(
      [=] { *chosen = [=](const Environment& environment) { return CompletionCommand(*app, *what, environment); }; });
}

void AddConfig(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const config = app->add_subcommand("config", "the settings of flags, variables and files");
  config->require_subcommand(1);
  CLI::App* const show = config->add_subcommand(
      "show", "the value of each option of run, with the flags given here and a job file; runs nothing");
  auto options = std::make_shared<CommandOptions>();
  AddJobOptions(show, options.get());
  auto with_origin = std::make_shared<bool>(false);
  show->add_flag("--origin", *with_origin,
                 "also show where each value comes from: flag, variable, or a file and its line");
  show->footer(
      "Examples:\n  reembed config show --origin\n  reembed config show job.toml --model text-embedding-3-small "
      "--origin\n  reembed config show --json");
  show->callback([=] {
    *chosen = [=](const Environment& environment) -> ExitCode {
      Environment with_files = environment;
      const absl::StatusOr<LayeredOptions> all = LayerOptions(*options, SaidOptions(*show, words), &with_files);
      if (!all.ok()) return Fail("config show", all.status(), options->json);
      for (const std::string& note : all->notes) Note(note, options->json);
      return ConfigShowCommand(*all, *with_origin);
    };
  });
}

// What people write who know other commands.
void AddHelpAndVersion(CLI::App* app, Command* chosen) {
  CLI::App* const help = app->add_subcommand("help", "what a command does, and its flags: reembed help run");
  auto names = std::make_shared<std::vector<std::string>>();
  help->add_option("command", *names, "a command; default: a short list of all commands");
  help->callback([=] {
    *chosen = [=](const Environment&) -> ExitCode {
      const absl::StatusOr<const CLI::App*> found = FindCommand(*app, *names);
      if (!found.ok()) return Fail("help", found.status(), false);
      // CLI11's own help() would be about what was parsed: that is `help` here.
      const std::string name = absl::StrCat(app->get_name(), names->empty() ? "" : " ", absl::StrJoin(*names, " "));
      std::cout << app->get_formatter()->make_help(*found, name, CLI::AppFormatMode::Normal) << std::flush;
      return kExitDone;
    };
  });
  CLI::App* const version = app->add_subcommand("version", "the version of this program");
  version->callback([=] {
    *chosen = [](const Environment&) -> ExitCode {
      std::cout << "reembed " << REEMBED_VERSION << std::endl;
      return kExitDone;
    };
  });
}

}  // namespace

void AddSetUp(CLI::App* app, Words words, std::function<ExitCode(const Environment&)>* chosen) {
  AddSystems(app, chosen);
  AddDemo(app, chosen);
  AddDoctorAndPaths(app, words, chosen);
  AddConfig(app, words, chosen);
  AddHelpAndVersion(app, chosen);
}

}  // namespace reembed
