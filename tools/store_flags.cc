// SPDX-License-Identifier: Apache-2.0
#include "tools/store_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "tools/commands.h"
#include "tools/search_parts.h"
#include "tools/shared_flags.h"
#include "tools/usage.h"
#include "tools/with_layers.h"

namespace reembed {
namespace {

void AddBackup(CLI::App* app, Command* chosen) {
  CLI::App* const command =
      app->add_subcommand("backup", "save the stores of a memory system into a folder; the system may be running");
  auto options = std::make_shared<BackupOptions>();
  command->add_option("--system", options->system, "memory system, see `reembed systems`");
  command->add_option("--db", options->db, "where its database is: a path or URL; default: where it keeps it");
  command->add_option("--source,--target", options->sources,
                      "an additional store, or one without --system, as for run: sqlite:PATH, qdrant:URL/COLLECTION");
  command->add_option("--to", options->to, "folder to create; it must not exist yet")->required();
  command->add_option("--db-token-env", options->db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", options->db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  AddEnvFileFlags(command, options.get());
  command->add_flag("--json", options->json, "JSON lines on standard output");
  AddProgressFlags(command, options.get());
  command->footer(
      "The folder gets its name when everything is on the disk: a folder with this name is complete.\n\nExamples:\n  "
      "reembed backup "
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
      app->add_subcommand("restore", "restore a backup; current data stay until the restored data are complete");
  auto options = std::make_shared<RestoreOptions>();
  command->add_option("backup", options->backup, "folder that `reembed backup` made")->required();
  command->add_option("--db", options->db, "restore the database to this place instead of its origin");
  command->add_option("--target", options->targets,
                      "restore the store with this scheme to this place instead: qdrant:URL/COLLECTION");
  command->add_option("--only", options->only, "restore only this file of the backup");
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
  command->add_option("--target", options->target, "a target that is searched row by row: npy:PATH, sqlite:...");
  command->add_option("--source", options->source, "where the texts are; default: what the index records");
  command->add_option("--db-token-env", options->who.db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", options->who.db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  command->add_option("-k,--top", options->k, "how many results")->check(CLI::Range(1, 10000));
  command->add_option("--nprobe", options->nprobe, "number of lists of an IVF index to search")->check(NotNegative());
  command->add_option("--ef-search", options->ef_search, "breadth of the search in an HNSW index")
      ->check(NotNegative());
  command->add_option("--embedder", options->who.embedder,
                      "an API, as for run, or builtin; default: openai, or builtin for its indexes");
  command->add_option("--api-base", options->who.api_base, "base URL of the API");
  command->add_option("--model", options->who.model, "model, if the target does not record it");
  command->add_option("--dimensions", options->who.dimensions, "width, if the target does not record it");
  AddKeyFlags(command, &options->who);
  command
      ->add_option("--input-type", options->who.input_type,
                   "input type that is sent to the API: query (the default), document or none")
      ->check(CLI::IsMember({"document", "query", "none"}));
  const auto add_list = [command](const char* flag, std::vector<std::string>* values, const char* what) {
    command->add_option(flag, *values, what)->allow_extra_args(false);
  };
  add_list("--header", &options->who.headers, "additional HTTP header, `name: value`; also several");
  add_list("--header-env", &options->who.header_envs,
           "additional HTTP header, `name: VARIABLE`: its value is in this variable");
  add_list("--body-field", &options->who.body_fields,
           "additional field in the body of the request, `name=value`; also several");
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

}  // namespace

void AddStoreCommands(CLI::App* app, Words words, std::function<ExitCode(const Environment&)>* chosen) {
  AddBackup(app, chosen);
  AddRestore(app, chosen);
  AddSearch(app, words, chosen);
}

}  // namespace reembed
