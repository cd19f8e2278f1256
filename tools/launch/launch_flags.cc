// SPDX-License-Identifier: Apache-2.0
#include "tools/launch/launch_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "tools/launch/launch.h"
#include "tools/option_table.h"
#include "tools/shard_plan.h"
#include "tools/usage.h"
#include "tools/with_layers.h"

namespace reembed {
namespace {

using Command = std::function<ExitCode(const Environment&)>;

constexpr char kGroup[] = "Scheduler";

// What the launcher says itself, or what makes no sense for many.
constexpr absl::string_view kNotGivenOn[] = {"shard", "shards",         "out",    "accept-rejects",   "no-input",
                                             "limit", "force-recreate", "record", "error-on-nothing", "plan"};

void AddCommon(CLI::App* command, LaunchOptions* options) {
  AddOptionsOfRun(command, &options->run, kNotGivenOn);
  command->get_option("--job")->description("the folder that all shards share, where all machines reach it");
  command->get_option("--json")->description("a JSON line on standard output, of what was submitted");
  command->get_option("--yes")->description("do not ask, in the shards: what a run would ask is refused without it");
  command->add_option("--shards", options->shards, "shards of the job")
      ->check(CLI::Range(1, kMaxShards))
      ->required()
      ->group(kGroup);
  command->add_option("--at-once", options->at_once, "shards that run at a time at most")
      ->check(WholeNotNegative())
      ->group(kGroup);
  command
      ->add_option("--retries", options->retries,
                   "how often a shard is started again that has failed for a while; 5. Time that was up does not count")
      ->check(CLI::Range(0, 1000))
      ->group(kGroup);
  command->add_option("--name", options->name, "name of the scheduler's job; default: that of the folder --job")
      ->group(kGroup);
  command->add_option("--cpus", options->cpus, "processors of each shard")->check(NotNegative())->group(kGroup);
  command->add_option("--memory", options->memory, "memory of each shard, as 4GiB; `reembed plan` says what it takes")
      ->group(kGroup);
  command->add_flag("--complete", options->complete, "also shards that are complete, for rows that came since")
      ->group(kGroup);
  command->add_flag("--print", options->print, "print what would be submitted, and do nothing")->group(kGroup);
}

// Launches with what files of settings say, as the shards may have none, or others. The variables of .env, and a job
// file, are read where the shards run; beside a job file these files do not say what the job is.
ExitCode Launch(const char* name, const CLI::App& command, Words words, CommandOptions* run,
                const Environment& environment, const std::function<ExitCode(const Environment&)>& launch) {
  const bool has_job_file = !run->job_file.empty();
  const auto takes = [has_job_file](const OptionEntry& entry) {
    const bool wanted = entry.scope == OptionScope::kHow || (entry.scope == OptionScope::kJob && !has_job_file);
    return wanted && !absl::c_linear_search(kNotGivenOn, entry.name);
  };
  CommandOptions given = *run;
  given.job_file.clear();
  given.env_file.clear();
  given.no_env_file = true;
  return WithLayers({.name = name, .takes = takes, .needs_key = false}, given, SaidOptions(command, words), environment,
                    [&](const LayeredOptions& all, const Environment&) {
                      for (const OptionEntry& entry : OptionEntries()) {
                        const auto origin = all.origins.find(entry.name);
                        if (origin == all.origins.end() || origin->second.layer < OptionLayer::kProjectFile) continue;
                        CopyOption(entry, all.options, run);
                      }
                      return launch(environment);
                    });
}

void AddSlurm(CLI::App* launch, Words words, Command* chosen) {
  CLI::App* const command = launch->add_subcommand(
      "slurm", "submit the shards as an array job; the same command starts only the shards that have failed");
  auto options = std::make_shared<SlurmOptions>();
  AddCommon(command, &options->launch);
  command
      ->add_option("--time", options->time,
                   "limit of time of a shard: minutes, HH:MM:SS, D-HH, or 8h; it ends before and is queued again")
      ->group(kGroup);
  command->add_option("--partition", options->partition, "partition of Slurm")->group(kGroup);
  command->add_option("--account", options->account, "account of Slurm")->group(kGroup);
  command->add_option("--sbatch", options->sbatch, "a further word for sbatch, --sbatch=--constraint=ib; also several")
      ->allow_extra_args(false)
      ->group(kGroup);
  command
      ->add_option("--setup", options->setup, "a line of shell before the command, `module load reembed`; also several")
      ->allow_extra_args(false)
      ->group(kGroup);
  command->add_option("--program", options->program, "path of reembed on the nodes; default: as here")->group(kGroup);
  command->footer(
      "Keys come from the environment, as Slurm hands it on, or from --api-key-file; none is in the script.\n\n"
      "Examples:\n  reembed launch slurm --shards 32 --at-once 8 --time 8h --job /shared/notes --source jsonl:/shared/"
      "notes.jsonl --target fbin:/shared/notes.fbin --model text-embedding-3-small\n  reembed launch slurm jobs/a.toml "
      "--job /shared/a --shards 4 --partition long\n  reembed launch slurm jobs/a.toml --job /shared/a --shards 4 "
      "--print");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      return Launch("launch slurm", *command, words, &options->launch.run, environment,
                    [&](const Environment& with_files) { return LaunchSlurmCommand(*options, with_files); });
    };
  });
}

void AddKubernetes(CLI::App* launch, Words words, Command* chosen) {
  CLI::App* const command =
      launch->add_subcommand("kubernetes", "run the shards as an Indexed Job, by kubectl; needs Kubernetes 1.29");
  auto options = std::make_shared<KubernetesOptions>();
  AddCommon(command, &options->launch);
  command->add_option("--image", options->image, "image that has reembed")->group(kGroup);
  command->add_option("--namespace", options->name_space, "namespace; default: that of kubectl")->group(kGroup);
  command
      ->add_option("--claim", options->claims,
                   "persistent volume claim for the job, at /data or NAME=/PATH; also several, with a path")
      ->allow_extra_args(false)
      ->group(kGroup);
  command
      ->add_option("--secret", options->secrets,
                   "secret whose keys are variables, as OPENAI_API_KEY; NAME=/PATH: whose keys are files; also several")
      ->allow_extra_args(false)
      ->group(kGroup);
  command->footer(
      "Paths are those in the containers.\n\nExamples:\n  kubectl create secret generic openai "
      "--from-env-file=openai.env\n  reembed launch kubernetes --shards 32 --at-once 8 --image "
      "registry.example/reembed:0.3 --claim texts --secret openai --job /data/notes --source jsonl:/data/notes.jsonl "
      "--target fbin:/data/notes.fbin --model text-embedding-3-small\n  reembed launch kubernetes /data/a.toml --job "
      "/data/a --shards 4 --image reembed --claim texts --print");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      return Launch("launch kubernetes", *command, words, &options->launch.run, environment,
                    [&](const Environment& with_files) { return LaunchKubernetesCommand(*options, with_files); });
    };
  });
}

}  // namespace

void AddLaunch(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const launch = app->add_subcommand("launch", "the shards of one job on many machines: Slurm, Kubernetes");
  launch->require_subcommand(1);
  AddSlurm(launch, words, chosen);
  AddKubernetes(launch, words, chosen);
}

}  // namespace reembed
