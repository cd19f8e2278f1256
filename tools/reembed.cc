// SPDX-License-Identifier: Apache-2.0
// The `reembed` command: flags are declared here, one subcommand per file does the work.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "tools/bench_flags.h"
#include "tools/commands.h"
#include "tools/environment.h"
#include "tools/index_flags.h"
#include "tools/job_choice.h"
#include "tools/launch/launch_flags.h"
#include "tools/option_layers.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/process_limits.h"
#include "tools/resolve_embedder.h"
#include "tools/resolve_preset.h"
#include "tools/search_parts.h"
#include "tools/serve.h"
#include "tools/signals.h"
#include "tools/streams.h"
#include "tools/usage.h"
#include "tools/with_layers.h"

namespace reembed {
namespace {

constexpr char kVersion[] = REEMBED_VERSION;

constexpr char kExitCodes[] =
    "Exit codes: 0 done; 1 failed; 2 wrong argument or no consent; 3 finished, some rows rejected; 5 temporary, run "
    "again;\n6 key, quota, model or width; 7 cap of money or tokens; 8 verify found a difference, or a run another "
    "job's vectors;\n9 nothing to do, with --error-on-nothing; 10 --max-duration has passed, resumable; 11 locked by "
    "another run;\n129/130/143 interrupted by HUP, Ctrl-C or TERM, resumable";

using Command = std::function<ExitCode(const Environment&)>;

// Runs a command with the variables of --env-file, or of .env where it is, added to the environment. `job`: `options`,
// and what the job's file says.
ExitCode WithEnvFile(const char* name, const CommandOptions& options, const absl::StatusOr<CommandOptions>& job,
                     const Environment& environment, const Command& run) {
  if (!job.ok()) return Fail(name, job.status(), options.json);
  Environment with_file = environment;
  absl::Status read = AddEnvFile(*job, &with_file);
  if (read.ok()) read = AskForApiKey(options, &with_file);
  if (!read.ok()) return Fail(name, read, options.json);
  return run(with_file);
}

// For a command without a job file.
ExitCode WithEnvFile(const char* name, const CommandOptions& options, const Environment& environment,
                     const Command& run) {
  return WithEnvFile(name, options, options, environment, run);
}

absl::StatusOr<CommandOptions> WithJobFile(CommandOptions options) {
  ABSL_RETURN_IF_ERROR(ReadJobFile(&options));
  return options;
}

CLI::App* AddJobCommand(CLI::App* app, const char* name, const char* what, const char* examples, Words words,
                        ExitCode (*run)(CommandOptions, const Environment&), Command* chosen) {
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

// Where a key comes from, of a command whose other flags are few.
template <typename Options>
void AddKeyFlags(CLI::App* command, Options* options) {
  command->add_option("--api-key-env", options->api_key_env, "environment variable that holds the API key");
  command->add_option("--api-key-file", options->api_key_file,
                      "file that holds the API key; -: the first line of standard input");
  command->add_option("--api-key-cmd", options->api_key_cmd,
                      "command for the shell that prints the API key as its first line");
}

template <typename Options>
void AddEnvFileFlags(CLI::App* command, Options* options) {
  command->add_option("--env-file", options->env_file, "read variables from this file instead of .env");
  command->add_flag("--no-env-file", options->no_env_file,
                    "read no .env, nor the other files of variables of a system");
}

template <typename Options>
void AddProgressFlags(CLI::App* command, Options* options) {
  command
      ->add_option_function<std::string>(
          "--progress",
          [options](const std::string& word) {
            options->progress = word;
            // Lines of progress are of no use to a program that cannot read the rest.
            if (word == "json") options->json = true;
          },
          "auto, on, off or json")
      ->check(CLI::IsMember({"auto", "on", "off", "json"}));
  command->add_flag("--quiet", options->quiet, "say nothing but errors");
}

template <typename Options>
void AddConsentFlags(CLI::App* command, Options* options, const char* yes) {
  command->add_flag("--yes", options->yes, yes);
  command->add_flag("--no-input", options->no_input, "never ask, also at a terminal: what would be asked is refused");
}

// What says which files of variables a finished job reads. One that is not there is reported where it is used.
absl::StatusOr<CommandOptions> OptionsOfJob(const std::string& directory, CommandOptions options) {
  const absl::StatusOr<std::vector<std::string>> folders = JobFolders(directory);
  if (!folders.ok()) return options;
  const std::string description = folders->front() + "/job.toml";
  if (std::filesystem::exists(description)) options.job_file = description;
  return WithJobFile(std::move(options));
}

void AddVerify(CLI::App* app, Command* chosen) {
  CLI::App* const command = app->add_subcommand("verify", "compare every target of a job with the job and its source");
  auto options = std::make_shared<VerifyOptions>();
  auto jobs = std::make_shared<std::vector<std::string>>();
  command->add_option("job", *jobs, "job directories; default: the newest job in the default folder");
  command->add_option("--sample", options->sample, "embed so many rows again and compare; costs requests")
      ->check(NotNegative());
  command->add_flag("--repair", options->repair,
                    "buy damaged vectors again one by one, and write what targets lack or hold otherwise");
  AddConsentFlags(command, options.get(), "with --repair: do not ask; wants the job's name");
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
  CLI::App* const command = app->add_subcommand("status", "what a job directory holds, and why rows were rejected");
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

// What watches and steers a run.
void AddLive(CLI::App* app, Command* chosen) {
  CLI::App* const ctl = app->add_subcommand("ctl", "look at a run that goes on, and steer it");
  auto options = std::make_shared<CtlOptions>();
  ctl->add_option("job", options->job, "its job directory")->required();
  ctl->add_option("words", options->words,
                  "status, pause, resume, rate rpm=N tpm=N (0: none), concurrency N, stop (what is in the air is "
                  "finished), abort (it is dropped), or dashboard: its address")
      ->required();
  ctl->add_flag("--json", options->json, "JSON on standard output");
  ctl->footer(
      "Examples:\n  reembed ctl JOB status\n  reembed ctl JOB pause\n  reembed ctl JOB rate rpm=600 tpm=200000\n  "
      "reembed ctl JOB concurrency 8\n  reembed ctl JOB stop");
  ctl->callback([=] { *chosen = [=](const Environment&) { return CtlCommand(*options); }; });
  CLI::App* const dashboard =
      app->add_subcommand("dashboard", "a page that shows a run that goes on, or the last one of a job");
  auto page = std::make_shared<DashboardOptions>();
  auto jobs = std::make_shared<std::vector<std::string>>();
  dashboard->add_option("job", *jobs, "job directory; default: the newest job in the default folder")->expected(0, 1);
  dashboard->add_option("--listen", page->listen, "ADDRESS:PORT or PORT; default: this machine, any free port");
  dashboard->footer("Examples:\n  reembed dashboard\n  reembed dashboard JOB --listen 8080");
  dashboard->callback([=] {
    *chosen = [=](const Environment& environment) {
      return ForEachJob({.command = "dashboard"}, *jobs, environment, [&](const std::string& job) {
        page->job = job;
        return DashboardCommand(*page);
      });
    };
  });
  CLI::App* const report =
      app->add_subcommand("report", "what became of a job, as one file with plots, or for an issue");
  auto to = std::make_shared<ReportOptions>();
  auto of = std::make_shared<std::vector<std::string>>();
  report->add_option("job", *of, "job directory; default: the newest job in the default folder")->expected(0, 1);
  report->add_option("--to", to->to, "NAME.html or NAME.md; default: Markdown to standard output");
  report->footer("Examples:\n  reembed report JOB --to report.html\n  reembed report JOB > report.md");
  report->callback([=] {
    *chosen = [=](const Environment& environment) {
      return ForEachJob({.command = "report"}, *of, environment, [&](const std::string& job) {
        to->job = job;
        return ReportCommand(*to);
      });
    };
  });
}

void AddRollback(CLI::App* app, Command* chosen) {
  CLI::App* const command =
      app->add_subcommand("rollback", "put back what a job has overwritten; may be repeated, also after a crash");
  auto options = std::make_shared<RollbackOptions>();
  auto jobs = std::make_shared<std::vector<std::string>>();
  command->add_option("job", *jobs, "job directories; without one the newest is named, and asked for");
  AddConsentFlags(command, options.get(), "do not ask; wants the job's name");
  command->add_flag("--force", options->force,
                    "also where another job has written since; its rows stay, and each of them is named");
  command->add_flag("--json", options->json, "JSON lines on standard output");
  AddProgressFlags(command, options.get());
  command->footer(
      "A row that somebody changed after the job wrote it stays as it is and is named (exit code 3).\n\nExamples:\n  "
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
  command->add_option("job", *jobs, "job directories; without one the newest is named, and asked for");
  AddConsentFlags(command, &run, "do not ask; wants the job's name");
  AddKeyFlags(command, &run);
  command->add_option("--api-base", run.api_base, "base URL of the API, if it has moved");
  command->add_option("--max-spend", run.max_spend,
                      "stop before all runs of the job have spent more US dollars; +5: 5 more than so far");
  command->add_option("--db-token-env", run.db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", run.db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  AddEnvFileFlags(command, &run);
  command->add_flag("--json", run.json, "JSON lines on standard output");
  command->add_flag("--quiet", run.quiet, "say nothing but errors");
  command->footer(
      "Nothing is bought but what these rows lack. Targets are written again from the first of them on, from what the "
      "job keeps.\n\nExamples:\n  reembed retry-rejects ~/.local/state/reembed/jobs/agentloop-1234abcd\n  reembed "
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
  add("publish", "the last step of a job in shards, where the last shard did not come to it: aliases, columns, indexes",
      "Examples:\n  reembed publish /shared/job", PublishCommand);
  add("merge", "make one file of the parts that the shards of a job have written, for each target that is a file",
      "The parts stay. A file that is there is not replaced.\n\nExamples:\n  reembed merge /shared/job", MergeCommand);
}

void AddBackup(CLI::App* app, Command* chosen) {
  CLI::App* const command =
      app->add_subcommand("backup", "save the stores of a memory system into a folder, while it runs");
  auto options = std::make_shared<BackupOptions>();
  command->add_option("--system", options->system, "memory system, see `reembed systems`");
  command->add_option("--db", options->db, "where its database is: a path or URL; default: where it keeps it");
  command->add_option("--source,--target", options->sources,
                      "a further place, or one without a system, as for run: sqlite:PATH, qdrant:URL/COLLECTION");
  command->add_option("--to", options->to, "folder that is made; it must not be there yet")->required();
  command->add_option("--db-token-env", options->db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", options->db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  AddEnvFileFlags(command, options.get());
  command->add_flag("--json", options->json, "JSON lines on standard output");
  AddProgressFlags(command, options.get());
  command->footer(
      "What has the folder's name is whole: it gets it when all is on the disk.\n\nExamples:\n  reembed backup "
      "--system "
      "agentloop --to backup-1\n  reembed backup --system memu --db data/memu.db --to backup-1\n  reembed backup "
      "--source sqlite:notes.db --to backup-1");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      const CommandOptions said = {.system = options->system,
                                   .json = options->json,
                                   .env_file = options->env_file,
                                   .no_env_file = options->no_env_file};
      return WithEnvFile("backup", said, environment,
                         [&](const Environment& with_file) { return BackupCommand(*options, with_file); });
    };
  });
}

void AddRestore(CLI::App* app, Command* chosen) {
  CLI::App* const command =
      app->add_subcommand("restore", "put a backup back; what is there stays whole until the new is");
  auto options = std::make_shared<RestoreOptions>();
  command->add_option("backup", options->backup, "folder that `reembed backup` made")->required();
  command->add_option("--db", options->db, "put the database there instead of where it came from");
  command->add_option("--target", options->targets,
                      "put the place of that scheme there instead: qdrant:URL/COLLECTION");
  command->add_option("--only", options->only, "restore this file of the backup and no other");
  command->add_option("--db-token-env", options->db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", options->db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  AddEnvFileFlags(command, options.get());
  AddConsentFlags(command, options.get(), "do not ask");
  command->add_flag("--json", options->json, "JSON lines on standard output");
  AddProgressFlags(command, options.get());
  command->footer(
      "Stop the system first. Examples:\n  reembed restore backup-1\n  reembed restore backup-1 --yes --json\n  "
      "reembed "
      "restore backup-1 --db /tmp/look-at-it.db");
  command->callback([=] {
    // It reads the variables of the backup's own system.
    *chosen = [=](const Environment& environment) { return RestoreCommand(*options, environment); };
  });
}

void AddSearch(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const command = app->add_subcommand("search", "the nearest rows to a text, in an index or a target");
  auto options = std::make_shared<SearchCommandOptions>();
  auto query = std::make_shared<std::vector<std::string>>();
  command->add_option("query", *query, "text to look for; its words need no quotes")->required();
  command->add_option("--index", options->index, "FAISS index that reembed has built");
  command->add_option("--target", options->target, "any target, compared row by row: npy:PATH, sqlite:...");
  command->add_option("--source", options->source, "where the texts are; default: what the index remembers");
  command->add_option("--db-token-env", options->who.db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", options->who.db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  command->add_option("-k,--top", options->k, "how many results")->check(CLI::Range(1, 10000));
  command->add_option("--nprobe", options->nprobe, "lists of an IVF index to look into")->check(NotNegative());
  command->add_option("--ef-search", options->ef_search, "breadth of the search in an HNSW index")
      ->check(NotNegative());
  command->add_option("--embedder", options->who.embedder,
                      "an API, as for run, or builtin; default: openai, or builtin for its indexes");
  command->add_option("--api-base", options->who.api_base, "base URL of the API");
  command->add_option("--model", options->who.model, "model, where the target does not remember it");
  command->add_option("--dimensions", options->who.dimensions, "width, where the target does not remember it");
  AddKeyFlags(command, &options->who);
  command
      ->add_option("--input-type", options->who.input_type,
                   "what the API is told that the text is: query (the default)")
      ->check(CLI::IsMember({"document", "query", "none"}));
  const auto add_list = [command](const char* flag, std::vector<std::string>* values, const char* what) {
    command->add_option(flag, *values, what)->allow_extra_args(false);
  };
  add_list("--header", &options->who.headers, "one more HTTP header, `name: value`; also several");
  add_list("--header-env", &options->who.header_envs, "likewise, `name: VARIABLE`: the value is in this variable");
  add_list("--body-field", &options->who.body_fields,
           "one more field of the request's body, `name=value`; also several");
  command->add_option("--proxy", options->who.proxy, "HTTP proxy, as for run");
  command->add_option("--ca-file", options->who.ca_file, "PEM file with the certificate authorities to trust");
  AddEnvFileFlags(command, &options->who);
  command->add_flag("--json", options->who.json, "JSON lines on standard output");
  command->footer(
      "Examples:\n  reembed search --index messages.faiss trip to Lisbon\n  reembed search --index messages.faiss "
      "-k 20 \"invoice\" --json\n  reembed search --target npy:messages.npy --embedder builtin \"trip to Lisbon\"");
  command->callback([=] {
    options->query = absl::StrJoin(*query, " ");
    *chosen = [=](const Environment& environment) {
      return WithLayers({.name = "search", .takes = FilesSayToSearch, .needs_key = false}, options->who,
                        SaidOptions(*command, words), environment,
                        [&](const LayeredOptions& all, const Environment& with_files) {
                          options->said = std::exchange(options->who, all.options);
                          return SearchCommand(*options, with_files);
                        });
    };
  });
}

void AddServe(CLI::App* app, Command* chosen) {
  CLI::App* const command =
      app->add_subcommand("serve", "an OpenAI-compatible embedding server with the built-in embedder");
  struct Words {
    ServeOptions serve;
    bool prepared = false;
    double latency_ms = 0;
    std::string api_key_env;
  };
  auto words = std::make_shared<Words>();
  EmbeddingServerOptions& server = words->serve.server;
  server.port = 8080;
  command->add_option("--port", server.port, "port; 0: a free one")->check(CLI::Range(0, 65535));
  command->add_option("--address", server.address, "address to listen on");
  command->add_option("--dim,--dimensions", server.dim, "width of the vectors of requests that name none");
  command->add_option("--threads", server.threads, "threads")->check(CLI::Range(1, 256));
  command->add_flag("--prepared", words->prepared,
                    "answer with fixed vectors that say nothing about the texts; only to measure clients");
  command->add_option("--latency-ms", words->latency_ms, "answer so much later; only to measure clients")
      ->check(NotNegative());
  command->add_option("--rpm", server.limits.requests_per_minute, "refuse more requests per minute with 429");
  command->add_option("--tpm", server.limits.tokens_per_minute, "refuse more tokens per minute with 429");
  command->add_option("--api-key-env", words->api_key_env, "environment variable with the key that requests must bear");
  command->footer(
      "Examples:\n  reembed serve --port 8080 --dim 512\n  reembed serve --port 0 --api-key-env MY_KEY\n  reembed "
      "serve "
      "--prepared --latency-ms 200 --rpm 3000");
  command->callback([=] {
    *chosen = [=](const Environment& environment) -> ExitCode {
      ServeOptions options = words->serve;
      if (words->prepared) options.server.mode = EmbeddingServerMode::kPrepared;
      options.server.speed.latency = absl::Milliseconds(words->latency_ms);
      if (!words->api_key_env.empty()) {
        options.server.api_key = environment.Get(words->api_key_env);
        if (options.server.api_key.empty()) {
          return Fail("serve", absl::InvalidArgumentError("--api-key-env: the variable is not set"), false);
        }
      }
      if (options.server.api_key.empty() && !EmbeddingServer::IsLoopback(options.server.address)) {
        std::cerr << "note: whoever reaches " << options.server.address
                  << " may use this server; --api-key-env NAME asks for a key" << std::endl;
      }
      StopSignals signals({.command = "serve", .left = "requests under way were cut off"});
      const StopSignals::Work work(&signals, {});
      const absl::Status served = Serve(options, signals.token(), std::cout);
      return served.ok() ? kExitDone : Fail("serve", served, false);
    };
  });
}

void AddBench(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const bench = app->add_subcommand("bench", "what an API, a store, an index or a whole job can do");
  bench->require_subcommand(1);
  CLI::App* const command = bench->add_subcommand(
      "endpoint", "measure an API with more and more requests at a time, and larger and larger ones; finds the knee");
  auto options = std::make_shared<BenchEndpointOptions>();
  AddEmbedderOptions(command, &options->embedder);
  command->get_option("--concurrency")->description("the most requests at a time to measure; default 32");
  command->get_option("--batch-size")->description("the most texts a request to measure; default: the API's limit");
  command->add_option("--seconds", options->seconds, "for each measure")
      ->check(CLI::Range(0.01, 3600.0))
      ->group("Limits")
      ->capture_default_str();
  command
      ->add_option("--max-tokens", options->max_tokens,
                   "never use more in all; default 200000, and 0 (any number) where the embedder costs nothing")
      ->check(NotNegative())
      ->group("Limits");
  command->add_option("--texts", options->texts, "file with one text a line to send; default: made-up sentences")
      ->group("What");
  command->add_option("--report", options->report, "write a page with a table and plots: NAME.html or NAME.md")
      ->group("Watch");
  command->footer(
      "Examples:\n  reembed bench endpoint --embedder openai --model text-embedding-3-small --max-tokens 500000\n  "
      "reembed bench endpoint --embedder ollama --model nomic-embed-text --concurrency 16 --seconds 5\n  reembed bench "
      "endpoint --api-base http://127.0.0.1:8080/v1 --model my-model --dimensions 768 --texts texts.txt --json");
  command->callback([=] {
    *chosen = [=](const Environment& environment) {
      // What a run is to send at a time is what this finds out.
      const auto takes = [command](const OptionEntry& entry) {
        const absl::string_view name = entry.name;
        return name != "concurrency" && name != "batch-size" && name != "max-tokens" &&
               command->get_option_no_throw("--" + std::string(name)) != nullptr;
      };
      return WithLayers({.name = "bench endpoint", .takes = takes}, options->embedder, SaidOptions(*command, words),
                        environment, [&](const LayeredOptions& all, const Environment& with_files) {
                          options->embedder = all.options;
                          return BenchEndpointCommand(*options, with_files);
                        });
    };
  });
  AddBenchOfStores(bench, words, chosen);
}

void AddSystems(CLI::App* app, Command* chosen) {
  CLI::App* const command =
      app->add_subcommand("systems", "memory systems that are known, and one of them as a preset");
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
  command->add_option("folder", options->folder, "folder that is made for it; default: reembed-demo");
  command->footer("Examples:\n  reembed demo\n  reembed demo /tmp/reembed-demo");
  command->callback(
      [=] { *chosen = [=](const Environment& environment) { return DemoCommand(*options, environment); }; });
}

void AddConfig(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const config = app->add_subcommand("config", "the settings of flags, variables and files");
  config->require_subcommand(1);
  CLI::App* const show = config->add_subcommand(
      "show", "each option of run as it stands, with the flags that are given here and a job file; runs nothing");
  auto options = std::make_shared<CommandOptions>();
  AddJobOptions(show, options.get());
  auto with_origin = std::make_shared<bool>(false);
  show->add_flag("--origin", *with_origin, "also where each comes from: flag, variable, or a file and its line");
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

// What helps to set the command up.
void AddSetUp(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const doctor = AddJobCommand(
      app, "doctor", "look at this machine, and with the flags of run at its API and stores; sends one text at most",
      "Examples:\n  reembed doctor\n  reembed doctor --embedder openai --model text-embedding-3-small\n  reembed "
      "doctor "
      "--system agentloop --json",
      words, DoctorCommand, chosen);
  doctor->get_option("job-file")->description("a job file, as of run: its API and stores are looked at");
  CLI::App* const paths = app->add_subcommand("paths", "where settings, jobs, presets, variables and certificates are");
  auto json = std::make_shared<bool>(false);
  paths->add_flag("--json", *json, "JSON lines on standard output");
  paths->callback([=] { *chosen = [=](const Environment& environment) { return PathsCommand(*json, environment); }; });
  CLI::App* const completion = app->add_subcommand("completion", "completions of a shell, or the man page");
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

// What people write who know other commands.
void AddHelpAndVersion(CLI::App* app, Command* chosen) {
  CLI::App* const help = app->add_subcommand("help", "what a command does, and its flags: reembed help run");
  auto names = std::make_shared<std::vector<std::string>>();
  help->add_option("command", *names, "a command; default: all of them, in short");
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
      std::cout << "reembed " << kVersion << std::endl;
      return kExitDone;
    };
  });
}

// What is to be said of the words before anything is done.
absl::Status CheckWords(const CLI::App& app, Words words) {
  ABSL_RETURN_IF_ERROR(CheckNoEmptyValue(app));
  if (std::find(words.begin(), words.end(), "--quiet") != words.end()) return absl::OkStatus();
  for (const std::string& note : UnreadVariables(app, words)) Note(note, WantsJson(words));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  ForgetServiceLinks();
  RestartForLibraries(argv);
  IgnoreWriteSignals();
  const ShownStream shown_output(&std::cout), shown_errors(&std::cerr);
  const std::vector<std::string> words(argv + 1, argv + argc);
  EndInWordsWhenOutOfMemory(WantsJson(words));
  CLI::App app{"reembed gives every row of a store a new embedding", "reembed"};
  app.set_version_flag("--version", std::string("reembed ") + kVersion);
  app.require_subcommand(1);
  app.footer(std::string("Examples:\n  reembed plan --system agentloop\n  reembed run --system agentloop --target "
                         "faiss:messages.faiss\n  reembed search --index messages.faiss \"trip to Lisbon\"\n\n") +
             kExitCodes);
  Command chosen;
  AddJobCommand(&app, "run", "do a job: embed the rows and fill the targets; the same command goes on after a stop",
                "Examples:\n  reembed run --system agentloop --db memory.db\n  reembed run --source "
                "'sqlite:notes.db?table=notes&text=body&vector=embedding' --embedder builtin\n  reembed run --source "
                "jsonl:rows.jsonl --target faiss:rows.faiss --model text-embedding-3-large",
                words, RunCommand, &chosen);
  AddJobCommand(&app, "plan", "what `run` with the same arguments would do and cost; writes and sends nothing",
                "Examples:\n  reembed plan --system agentloop\n  reembed plan --system agentloop --all --tpm 1000000 "
                "--rpm 3000\n  reembed plan --source jsonl:rows.jsonl --target npy:rows.npy --json",
                words, PlanCommand, &chosen);
  AddVerify(&app, &chosen);
  AddStatus(&app, &chosen);
  AddLive(&app, &chosen);
  AddRollback(&app, &chosen);
  AddRetryRejects(&app, &chosen);
  AddShards(&app, &chosen);
  AddBackup(&app, &chosen);
  AddRestore(&app, &chosen);
  AddSearch(&app, words, &chosen);
  AddIndex(&app, words, &chosen);
  AddLaunch(&app, words, &chosen);
  AddServe(&app, &chosen);
  AddBench(&app, words, &chosen);
  AddSystems(&app, &chosen);
  AddDemo(&app, &chosen);
  AddSetUp(&app, words, &chosen);
  AddConfig(&app, words, &chosen);
  AddHelpAndVersion(&app, &chosen);
  AcceptNoColor(&app);
  NameVariables(&app);
  try {
    app.parse(argc, argv);
    HideLogins(argc, argv);
  } catch (const CLI::Success& asked) {
    app.exit(asked);  // --help, --version
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    return Fail(CommandOf(app), UsageError(app, error, words), WantsJson(words));
  }
  if (absl::Status checked = CheckWords(app, words); !checked.ok()) {
    return Fail(CommandOf(app), checked, WantsJson(words));
  }
  if (absl::Status taken = TakeSharedSettings(AskedCommand(&app), words); !taken.ok()) {
    return Fail(CommandOf(app), taken, WantsJson(words));
  }
  if (absl::Status files = AllowOpenFiles(kFilesOfACommand); !files.ok()) {
    return Fail(CommandOf(app), files, WantsJson(words));
  }
  return chosen(Environment());
}

}  // namespace
}  // namespace reembed

int main(int argc, char** argv) { return reembed::Main(argc, argv); }
