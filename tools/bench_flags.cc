// SPDX-License-Identifier: Apache-2.0
#include "tools/bench_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "tools/bench_commands.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/resolve_preset.h"
#include "tools/shared_flags.h"
#include "tools/usage.h"
#include "tools/with_layers.h"

namespace reembed {
namespace {

void AddCommon(CLI::App* command, BenchCommon* common, bool with_time) {
  if (with_time) {
    command->add_option("--seconds", common->seconds, "seconds for each measurement")
        ->check(CLI::Range(0.01, 3600.0))
        ->capture_default_str();
  }
  command->add_option("--db-token-env", common->db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", common->db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  command->add_option("--env-file", common->env_file, "read variables from this file instead of .env");
  command->add_flag("--no-env-file", common->no_env_file, "read no .env");
  command->add_option("--report", common->report, "write a page with tables and plots: NAME.html or NAME.md");
  command->add_flag("--json", common->json, "JSON lines on standard output");
}

// Runs with the variables of .env, as every command that asks a store for something.
template <typename Options>
Command Chosen(const char* name, std::shared_ptr<Options> options,
               ExitCode (*run)(const Options&, const Environment&)) {
  return [=](const Environment& environment) {
    Environment with_file = environment;
    CommandOptions variables;
    variables.env_file = options->common.env_file;
    variables.no_env_file = options->common.no_env_file;
    const absl::Status read = AddEnvFile(variables, &with_file);
    return read.ok() ? run(*options, with_file) : Fail(name, read, options->common.json);
  };
}

void AddTarget(CLI::App* bench, Command* chosen) {
  CLI::App* const command = bench->add_subcommand(
      "target", "measure how fast a target is written, with more and more rows per write; in a temporary place");
  auto options = std::make_shared<BenchTargetOptions>();
  command->add_option("targets", options->targets, "URIs of targets, as for run; their own rows are not changed")
      ->required();
  command->add_option("--dimensions", options->dimensions, "width of the made-up vectors")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "maximum rows of each measurement")
      ->check(CLI::Range(int64_t{1}, int64_t{100000000}))
      ->capture_default_str();
  command->add_option("--batch-size", options->batch_size, "largest number of rows per write to measure")
      ->check(CLI::Range(1, 1048576))
      ->capture_default_str();
  command->add_option(
      "--try", options->options,
      "NAME=VALUE to add to the URI and compare; default: parameters that may be faster, such as type=float16");
  AddCommon(command, &options->common, /*with_time=*/true);
  command->footer(
      "A run writes at least the texts of one request together, and all that wait for the target "
      "meanwhile.\n\nExamples:\n  "
      "reembed "
      "bench target npy:/data/out.npy\n  reembed bench target "
      "'postgres://me@localhost/notes?table=notes&key=id&vector=embedding' --dimensions 1536\n  reembed bench target "
      "qdrant:http://localhost:6333/memories --rows 50000 --report target.html\n  reembed bench target "
      "'sqlite:notes.db?table=notes&key=id&vector=embedding' npy:out.npy --json");
  command->callback([=] { *chosen = Chosen("bench target", options, BenchTargetCommand); });
}

void AddSource(CLI::App* bench, Command* chosen) {
  CLI::App* const command =
      bench->add_subcommand("source", "measure how fast a source is read, and how long its texts are; changes nothing");
  auto options = std::make_shared<BenchSourceOptions>();
  command->add_option("source", options->source, "URI of the source, as for run")->required();
  command->add_option("--rows", options->rows, "maximum rows to read; 0: no limit")
      ->check(NotNegative())
      ->capture_default_str();
  command->add_option("--where", options->where, "which rows, as for run");
  AddCommon(command, &options->common, /*with_time=*/true);
  command->footer(
      "Examples:\n  reembed bench source 'jsonl:rows.jsonl?key=id&text=text'\n  reembed bench source "
      "'postgres://me@localhost/notes?table=notes&key=id&text=body' --seconds 10\n  reembed bench source "
      "'sqlite:notes.db?table=notes&key=id&text=body' --report source.html");
  command->callback([=] { *chosen = Chosen("bench source", options, BenchSourceCommand); });
}

void AddIndex(CLI::App* bench, Command* chosen) {
  CLI::App* const command =
      bench->add_subcommand("index", "measure how fast types of indexes are built and searched, and their recall");
  auto options = std::make_shared<BenchIndexOptions>();
  command->add_option("vectors", options->vectors,
                      "a job directory, a file of vectors, or any target that can be read; default: random vectors");
  command->add_option("--factory", options->factories,
                      "factory string of FAISS, for example HNSW32; also several. Default: Flat, HNSW16, HNSW32, "
                      "IVF,Flat, IVF,SQ8");
  command->add_option("--metric", options->metric, "cosine, ip or l2")
      ->check(CLI::IsMember({"cosine", "ip", "l2"}))
      ->capture_default_str();
  command->add_option("--recall", options->recall, "minimum recall at ten neighbours for the best one")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "number of random vectors")
      ->check(CLI::Range(int64_t{100}, int64_t{10000000}))
      ->capture_default_str();
  command->add_option("--dimensions", options->dimensions,
                      "width of random vectors (384), or the width to read if a place has several");
  command->add_option("--queries", options->queries, "number of queries")
      ->check(CLI::Range(int64_t{1}, int64_t{1000000}))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "threads of the build; default: one per core")
      ->check(CLI::Range(1, 1024));
  AddCommon(command, &options->common, /*with_time=*/false);
  command->footer(
      "Random vectors are clustered, but the recall of your own vectors may differ: use some of them.\n\n"
      "Examples:\n  reembed bench index --rows 50000 --dimensions 768\n  reembed bench index vectors.npy --factory "
      "HNSW32 --factory IVF,SQ8 --recall 0.98\n  reembed bench index ~/.local/state/reembed/jobs/agentloop-1234abcd "
      "--report index.html");
  command->callback([=] { *chosen = Chosen("bench index", options, BenchIndexCommand); });
}

void AddAll(CLI::App* bench, Words words, Command* chosen) {
  CLI::App* const command = bench->add_subcommand(
      "all", "measure each part of a planned job, and name the bottleneck; takes the flags of run, or a job file");
  auto options = std::make_shared<BenchAllOptions>();
  AddJobOptions(command, &options->job);
  command->add_option("--seconds", options->seconds, "seconds for each measurement")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->add_option("--rows", options->rows, "maximum random rows for each target")
      ->check(CLI::Range(int64_t{1}, int64_t{100000000}))
      ->capture_default_str();
  command
      ->add_option("--bench-tokens", options->tokens,
                   "maximum tokens for measuring an endpoint that costs money; --max-tokens and --max-spend hold, "
                   "too")
      ->check(CLI::Range(int64_t{64}, int64_t{1000000000000}))
      ->capture_default_str();
  command->add_option("--without", options->without, "leave this part out: source, endpoint, target")
      ->check(CLI::IsMember({"source", "endpoint", "target"}));
  command->footer(
      "If the endpoint costs money, the price is shown first, and --yes is needed.\n"
      "Targets are measured in temporary places, which are removed.\n\nExamples:\n  reembed bench all job.toml\n  "
      "reembed bench "
      "all --system agentloop --without endpoint\n  reembed bench all --source 'jsonl:rows.jsonl?key=id&text=text' "
      "--target faiss:rows.faiss --model text-embedding-3-small --bench-tokens 50000 --yes --report job.html");
  command->callback([=] {
    if (options->job.progress == "json") options->job.json = true;
    *chosen = [=](const Environment& environment) {
      // A page or a report of runs is none of a measure.
      const auto takes = [](const OptionEntry& entry) {
        return entry.scope != OptionScope::kOwn || entry.name == absl::string_view("api-key-cmd");
      };
      return WithLayers({.name = "bench all", .takes = takes}, options->job, SaidOptions(*command, words), environment,
                        [&](const LayeredOptions& all, const Environment& with_files) {
                          options->job = all.options;
                          return BenchAllCommand(*options, with_files);
                        });
    };
  });
}

void AddEndpoint(CLI::App* bench, Words words, Command* chosen) {
  CLI::App* const command = bench->add_subcommand(
      "endpoint", "measure an API with more and more concurrent requests, and larger ones; finds the best concurrency");
  auto options = std::make_shared<BenchEndpointOptions>();
  AddEmbedderOptions(command, &options->embedder);
  command->get_option("--concurrency")->description("largest number of concurrent requests to measure; default 32");
  command->get_option("--batch-size")
      ->description("largest number of texts per request to measure; default: the API's limit");
  command->add_option("--seconds", options->seconds, "seconds for each measurement")
      ->check(CLI::Range(0.01, 3600.0))
      ->group("Limits")
      ->capture_default_str();
  command
      ->add_option("--max-tokens", options->max_tokens,
                   "maximum tokens in total; default 200000, or 0 (no limit) if the embedder costs nothing")
      ->check(NotNegative())
      ->group("Limits");
  command->add_option("--texts", options->texts, "file with one text per line to send; default: generated sentences")
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
}

}  // namespace

void AddBench(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const bench = app->add_subcommand("bench", "measure an API, a store, an index or a whole job");
  bench->require_subcommand(1);
  AddEndpoint(bench, words, chosen);
  AddTarget(bench, chosen);
  AddSource(bench, chosen);
  AddIndex(bench, chosen);
  AddAll(bench, words, chosen);
}

}  // namespace reembed
