// SPDX-License-Identifier: Apache-2.0
#include "tools/job_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tools/api_key.h"
#include "tools/commands.h"
#include "tools/job_choice.h"
#include "tools/live/live_flags.h"
#include "tools/output.h"
#include "tools/shared_flags.h"
#include "tools/usage.h"

namespace reembed {
namespace {

void AddVerify(CLI::App* app, Command* chosen) {
  CLI::App* const command = app->add_subcommand("verify", "compare every target of a job with the job and its source");
  auto options = std::make_shared<VerifyOptions>();
  auto jobs = std::make_shared<std::vector<std::string>>();
  command->add_option("job", *jobs, "job directories; default: the newest job in the default folder");
  command
      ->add_option("--sample", options->sample,
                   "embed so many rows again and compare; sends requests, which may cost money")
      ->check(NotNegative());
  command->add_flag("--repair", options->repair,
                    "buy damaged vectors again, and write vectors that targets lack or hold differently");
  AddConsentFlags(command, options.get(), "with --repair: do not ask; needs the name of the job");
  AddKeyFlags(command, options.get());
  command->add_option("--api-base", options->api_base, "base URL of the API, if it has moved");
  command->add_flag("--json", options->json, "JSON lines on standard output");
  AddProgressFlags(command, options.get());
  command->footer(
      "Examples:\n  reembed verify\n  reembed verify ~/.local/state/reembed/jobs/agentloop-1234abcd\n  reembed verify "
      "JOB --sample 100\n"
      "  reembed verify JOB --repair\n"
      "  reembed verify JOB --json");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      const JobChoice choice{.command = "verify",
                             .changes = options->repair,
                             .yes = options->yes,
                             .no_input = options->no_input,
                             .json = options->json};
      const CommandOptions key = {.api_key_env = options->api_key_env,
                                  .api_key_file = options->api_key_file,
                                  .api_key_cmd = options->api_key_cmd,
                                  .json = options->json};
      // Once for all jobs.
      Environment with_key = environment;
      if (absl::Status asked = AskForApiKey(key, &with_key); !asked.ok()) return Fail("verify", asked, options->json);
      return ForEachJob(choice, *jobs, with_key, [&](const std::string& job) {
        options->job = job;
        return WithEnvFile("verify", key, OptionsOfJob(job, key), with_key,
                           [&](const Environment& with_file) { return VerifyCommand(*options, with_file); });
      });
    };
  });
}

void AddStatus(CLI::App* app, Command* chosen) {
  CLI::App* const command = app->add_subcommand("status", "what a job contains, and why rows were rejected");
  auto options = std::make_shared<StatusOptions>();
  auto jobs = std::make_shared<std::vector<std::string>>();
  command->add_option("job", *jobs, "job directories; default: the newest job in the default folder");
  auto all = std::make_shared<bool>(false);
  command->add_flag("--all", *all, "all jobs in the default folder");
  command->add_option("--rejects", options->rejects, "how many rejected rows to show")->check(NotNegative());
  command->add_flag("--json", options->json, "JSON lines on standard output");
  command->footer(
      "Examples:\n  reembed status\n  reembed status --all\n  reembed status JOB\n  reembed status JOB --rejects 1000 "
      "--json");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      if (*all) return StatusCommand(*options, environment);
      return ForEachJob({.command = "status", .json = options->json}, *jobs, environment, [&](const std::string& job) {
        options->job = job;
        return StatusCommand(*options, environment);
      });
    };
  });
}

void AddRollback(CLI::App* app, Command* chosen) {
  CLI::App* const command = app->add_subcommand(
      "rollback", "restore the vectors that a job has overwritten; may be repeated, also after a crash");
  auto options = std::make_shared<RollbackOptions>();
  auto jobs = std::make_shared<std::vector<std::string>>();
  command->add_option("job", *jobs, "job directories; default: the newest job, which is named before you are asked");
  AddConsentFlags(command, options.get(), "do not ask; needs the name of the job");
  command->add_flag("--force", options->force,
                    "roll back even if another job has written to the place since; its rows are left, and named");
  command->add_flag("--json", options->json, "JSON lines on standard output");
  AddProgressFlags(command, options.get());
  command->footer(
      "A row that somebody changed after the job wrote it is left and named (exit code 3).\n\nExamples:\n  "
      "reembed rollback ~/.local/state/reembed/jobs/agentloop-1234abcd\n  reembed rollback JOB --yes\n  reembed "
      "rollback JOB --yes --json");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      const JobChoice choice{.command = "rollback",
                             .changes = true,
                             .yes = options->yes,
                             .no_input = options->no_input,
                             .json = options->json};
      return ForEachJob(choice, *jobs, environment, [&](const std::string& job) {
        options->job = job;
        const CommandOptions said = {.json = options->json};
        return WithEnvFile("rollback", said, OptionsOfJob(job, said), environment,
                           [&](const Environment& with_file) { return RollbackCommand(*options, with_file); });
      });
    };
  });
}

void AddRetryRejects(CLI::App* app, Command* chosen) {
  CLI::App* const command = app->add_subcommand(
      "retry-rejects", "try the rejected rows of a job again, after their text or a limit was changed");
  auto options = std::make_shared<RetryRejectsOptions>();
  CommandOptions& run = options->run;
  auto jobs = std::make_shared<std::vector<std::string>>();
  command->add_option("job", *jobs, "job directories; default: the newest job, which is named before you are asked");
  AddConsentFlags(command, &run, "do not ask; needs the name of the job");
  AddKeyFlags(command, &run);
  command->add_option("--api-base", run.api_base, "base URL of the API, if it has moved");
  command->add_option("--max-spend", run.max_spend,
                      "maximum US dollars for all runs of the job together; +5: 5 more than spent so far");
  command->add_option("--db-token-env", run.db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", run.db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  AddEnvFileFlags(command, &run);
  command->add_flag("--json", run.json, "JSON lines on standard output");
  command->add_flag("--quiet", run.quiet, "print only errors");
  command->footer(
      "Only vectors for these rows are bought. Targets are written again from the first of these rows on, from the "
      "vectors in the job.\n\nExamples:\n  reembed retry-rejects ~/.local/state/reembed/jobs/agentloop-1234abcd\n  "
      "reembed "
      "retry-rejects JOB --json");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      const JobChoice choice{.command = "retry-rejects",
                             .changes = true,
                             .yes = options->run.yes,
                             .no_input = options->run.no_input,
                             .json = options->run.json};
      // Once for all jobs.
      Environment with_key = environment;
      if (absl::Status asked = AskForApiKey(options->run, &with_key); !asked.ok()) {
        return Fail("retry-rejects", asked, options->run.json);
      }
      return ForEachJob(choice, *jobs, with_key, [&](const std::string& job) {
        options->job = job;
        return WithEnvFile("retry-rejects", options->run, OptionsOfJob(job, options->run), with_key,
                           [&](const Environment& with_file) { return RetryRejectsCommand(*options, with_file); });
      });
    };
  });
}

// What is once a job, where the job was done in shares.
void AddShards(CLI::App* app, Command* chosen) {
  const auto add = [&](const char* name, const char* what, const char* examples,
                       ExitCode (*run)(const ParentOptions&, const Environment&)) {
    CLI::App* const command = app->add_subcommand(name, what);
    auto options = std::make_shared<ParentOptions>();
    command->add_option("parent", options->parent, "folder that the shards had as --job")->required();
    command->add_flag("--json", options->json, "JSON lines on standard output");
    AddProgressFlags(command, options.get());
    command->footer(examples);
    command->callback([=] {
      *chosen = [=](const Environment& environment) {
        const CommandOptions said = {.json = options->json};
        return WithEnvFile(name, said, OptionsOfJob(options->parent, said), environment,
                           [&](const Environment& with_file) { return run(*options, with_file); });
      };
    });
  };
  add("publish", "do the last step of a sharded job, if the last shard has failed to: aliases, columns, indexes",
      "Examples:\n  reembed publish /shared/job", PublishCommand);
  add("merge", "merge the parts that the shards of a job have written, into one file for each target",
      "The parts are kept. An existing file is not replaced.\n\nExamples:\n  reembed merge /shared/job", MergeCommand);
}

}  // namespace

void AddJobCommands(CLI::App* app, std::function<ExitCode(const Environment&)>* chosen) {
  AddVerify(app, chosen);
  AddStatus(app, chosen);
  AddLive(app, chosen);
  AddRollback(app, chosen);
  AddRetryRejects(app, chosen);
  AddShards(app, chosen);
}

}  // namespace reembed
