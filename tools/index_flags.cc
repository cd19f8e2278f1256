// SPDX-License-Identifier: Apache-2.0
#include "tools/index_flags.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "tools/index_commands.h"
#include "tools/search_parts.h"
#include "tools/usage.h"
#include "tools/with_layers.h"

namespace reembed {
namespace {

using Command = std::function<ExitCode(const Environment&)>;

void AddCommon(CLI::App* command, IndexCommon* common) {
  command->add_option("--threads", common->threads, "threads; default: one per core")->check(CLI::Range(1, 1024));
  command->add_option("--dimensions", common->dimensions, "width, if the place does not record it");
  command->add_option("--db-token-env", common->db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", common->db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  command
      ->add_option_function<std::string>(
          "--progress",
          [common](const std::string& word) {
            common->progress = word;
            if (word == "json") common->json = true;
          },
          "auto, on, off or json")
      ->check(CLI::IsMember({"auto", "on", "off", "json"}));
  command->add_flag("--json", common->json, "JSON lines on standard output");
  command->add_flag("--quiet", common->quiet, "print only errors");
}

void AddBuild(CLI::App* index, Command* chosen) {
  CLI::App* const command = index->add_subcommand("build", "build a FAISS index from existing vectors");
  auto options = std::make_shared<IndexBuildCommandOptions>();
  command
      ->add_option("vectors", options->vectors,
                   "a job directory, a file (.h5 with `train`, .npy, .fbin, .fvecs), or any target that can be read")
      ->required();
  command->add_option("--output,-o", options->output, "path of the index; an existing one is kept as PATH.previous")
      ->required();
  command->add_option("--factory", options->factory,
                      "factory string of FAISS: Flat, HNSW32, IVF,Flat, IVF4096,PQ64x4fs ...; default HNSW32");
  command->add_option("--metric", options->metric, "cosine (rows are normalised; the default), ip or l2")
      ->check(CLI::IsMember({"cosine", "ip", "l2"}));
  command->add_option("--model", options->model, "model that made the vectors; default: what the place records");
  command->add_option("--texts", options->texts, "where the texts of the rows are; searches show them");
  command
      ->add_option("--recall", options->recall,
                   "instead of --factory: wanted recall at ten neighbours; the type of index and its search parameters "
                   "are found by measurement")
      ->check(CLI::Range(0.01, 1.0));
  command->add_option("--memory", options->memory, "with --recall: maximum memory of a search, for example 4GiB");
  command
      ->add_option("--latency", options->latency_ms,
                   "with --recall: maximum average duration of a search in milliseconds")
      ->check(NotNegative());
  command->add_option(
      "--build-memory", options->build_memory,
      "maximum memory of the build; an IVF index that needs more is built in parts, and searched on the disk");
  command->add_option("--train", options->train_rows, "rows to train on; default: 64 for each centroid")
      ->check(NotNegative());
  command->add_option("--ef-construction", options->ef_construction, "breadth of the search while building a graph")
      ->check(CLI::Range(1, 65536));
  command->add_option("--seed", options->seed, "seed of the random choices")->capture_default_str();
  command->add_option("--simd", options->simd,
                      "instructions for graphs: auto, portable, avx2, avx512, bf16, vnni, neon");
  command->add_option("--graph-storage", options->storage,
                      "numbers while a graph is built: auto, float32, bf16, int8; the file always holds float32");
  command->add_flag("--deterministic", options->deterministic, "the same file for any number of threads; slower");
  command->add_flag("--skip-unusable", options->skip_unusable,
                    "leave out rows of zeros or NaN instead of failing; exit code 3 if there are any");
  command
      ->add_option("--keep-every", options->keep_every_seconds,
                   "seconds between checkpoints, from which a killed build is resumed")
      ->check(NotNegative())
      ->capture_default_str();
  AddCommon(command, &options->common);
  command->footer(
      "After a kill the same command resumes from the last checkpoint.\n\nExamples:\n  reembed "
      "index "
      "build vectors.npy --output vectors.faiss\n  reembed index build ~/.local/state/reembed/jobs/agentloop-1234abcd "
      "-o messages.faiss --factory IVF,Flat\n  reembed index build glove-100-angular.h5 -o glove.faiss --factory "
      "HNSW32 "
      "--ef-construction 200\n  reembed index build vectors.fbin -o vectors.faiss --memory 4GiB --recall 0.95\n  "
      "reembed index build 'sqlite:notes.db?table=notes&key=id&vector=embedding' -o "
      "notes.faiss");
  command->callback([=] { *chosen = [=](const Environment& env) { return IndexBuildCommand(*options, env); }; });
}

void AddEval(CLI::App* index, Command* chosen) {
  CLI::App* const command = index->add_subcommand("eval", "measure the recall and speed of an index");
  auto options = std::make_shared<IndexEvalCommandOptions>();
  command->add_option("index", options->index, "path of the index; it may be from another program")->required();
  command->add_option(
      "--vectors", options->vectors,
      "the vectors it was built from; default: those in the index, or in the file that it was built from");
  command->add_option("--queries", options->queries, "maximum number of queries; by default random rows of the index")
      ->check(CLI::Range(int64_t{1}, int64_t{10000000}))
      ->capture_default_str();
  command->add_option("--queries-from", options->queries_file, "a file with the vectors of the queries");
  command->add_option(
      "--truth", options->truth,
      "HDF5 file in the layout of ann-benchmarks: its `test` are the queries, its `neighbors` the ground truth");
  command->add_option("--write-truth", options->write_truth, "write queries and true neighbours in that layout");
  command->add_option("--nprobe", options->nprobe, "measure these: 1,4,16")->delimiter(',')->check(CLI::PositiveNumber);
  command->add_option("--ef-search", options->ef_search, "measure these: 32,64,128")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command->add_option("--html", options->html, "write a page with the curve of recall and speed");
  command->add_option("--seed", options->seed, "seed of the random choice of rows")->capture_default_str();
  AddCommon(command, &options->common);
  command->footer(
      "Speed is measured with one thread, one query at a time, ten neighbours.\n\nExamples:\n  reembed index "
      "eval "
      "messages.faiss\n  reembed index eval messages.faiss --queries 200 --ef-search 32,64,128 --html recall.html\n  "
      "reembed index eval glove.faiss --truth glove-100-angular.h5 --json\n  reembed index eval small.faiss --vectors "
      "vectors.npy --write-truth truth.h5");
  command->callback([=] { *chosen = [=](const Environment& env) { return IndexEvalCommand(*options, env); }; });
}

void AddInfo(CLI::App* index, Command* chosen) {
  CLI::App* const command = index->add_subcommand("info", "what an index is, and what it was built from");
  auto options = std::make_shared<IndexInfoCommandOptions>();
  command->add_option("index", options->index, "path of the index; it may be from another program")->required();
  command->add_flag("--check", options->check, "read the whole index and verify its checksums");
  command->add_flag("--json", options->json, "JSON lines on standard output");
  command->footer(
      "Examples:\n  reembed index info messages.faiss\n  reembed index info messages.faiss --check\n  reembed index "
      "info "
      "other.index --json");
  command->callback([=] { *chosen = [=](const Environment& env) { return IndexInfoCommand(*options, env); }; });
}

void AddIndexMerge(CLI::App* index, Command* chosen) {
  CLI::App* const command =
      index->add_subcommand("merge", "merge several indexes, for example from several machines, into one");
  auto options = std::make_shared<IndexMergeCommandOptions>();
  command->add_option("indexes", options->indexes, "paths of the indexes")->required();
  command
      ->add_option("--output,-o", options->output, "path of the merged index; an existing one is kept as PATH.previous")
      ->required();
  command->add_option("--factory", options->factory, "type of the merged index; default: that of the first one");
  AddCommon(command, &options->common);
  command->footer(
      "Indexes with exact vectors (Flat, HNSW, IVF,Flat) are built again from all rows. The lists of indexes with "
      "codes "
      "(IVF,SQ8, IVF,PQ) are joined, if all were trained in the same way.\n\nExamples:\n  reembed index merge 1.faiss "
      "2.faiss "
      "3.faiss -o "
      "all.faiss\n  reembed index merge shard-*.faiss -o all.faiss --factory IVF,Flat");
  command->callback([=] { *chosen = [=](const Environment& env) { return IndexMergeCommand(*options, env); }; });
}

void AddIndexSearch(CLI::App* index, Words words, Command* chosen) {
  CLI::App* const command = index->add_subcommand("search", "the nearest rows to a text or a vector");
  auto options = std::make_shared<IndexSearchCommandOptions>();
  SearchCommandOptions& search = options->search;
  auto query = std::make_shared<std::vector<std::string>>();
  command->add_option("index", search.index, "path of the index; it may be from another program")->required();
  command->add_option("query", *query, "text to look for; its words need no quotes");
  command->add_option("--vector", options->vector, "file of vectors, one of which is the query");
  command->add_option("--row", options->row, "number of the query in the file, from 0")->check(NotNegative());
  command->add_option("--texts", search.source, "where the texts are; default: what the index records");
  command->add_option("-k,--top", search.k, "how many results")->check(CLI::Range(1, 10000));
  command->add_option("--nprobe", search.nprobe, "number of lists of an IVF index to search")->check(NotNegative());
  command->add_option("--ef-search", search.ef_search, "breadth of the search in an HNSW index")->check(NotNegative());
  command->add_option("--embedder", search.who.embedder, "an API, as for run, or builtin");
  command->add_option("--api-base", search.who.api_base, "base URL of the API");
  command->add_option("--model", search.who.model, "model, if the index does not record it");
  command->add_option("--api-key-env", search.who.api_key_env, "environment variable that holds the API key");
  command->add_option("--api-key-file", search.who.api_key_file,
                      "file that holds the API key; -: the first line of standard input");
  command->add_option("--db-token-env", search.who.db_token_env,
                      "environment variable that holds the token of a libSQL server");
  command->add_option("--db-password-env", search.who.db_password_env,
                      "environment variable that holds the password of a PostgreSQL or FalkorDB server");
  command->add_option("--env-file", search.who.env_file, "read variables from this file instead of .env");
  command->add_flag("--no-env-file", search.who.no_env_file, "read no .env");
  command->add_flag("--json", search.who.json, "JSON lines on standard output");
  command->footer(
      "Examples:\n  reembed index search messages.faiss trip to Lisbon\n  reembed index search other.index --vector "
      "queries.npy --row 3 -k 10\n  reembed index search other.index --model bge-m3 --api-base "
      "http://127.0.0.1:8080/v1 "
      "\"trip to Lisbon\"");
  command->callback([=] {
    options->search.query = absl::StrJoin(*query, " ");
    *chosen = [=](const Environment& environment) {
      SearchCommandOptions& asked = options->search;
      return WithLayers({.name = "index search", .takes = FilesSayToSearch, .needs_key = false}, asked.who,
                        SaidOptions(*command, words), environment,
                        [&](const LayeredOptions& all, const Environment& with_files) {
                          asked.said = std::exchange(asked.who, all.options);
                          return IndexSearchCommand(*options, with_files);
                        });
    };
  });
}

}  // namespace

void AddIndex(CLI::App* app, Words words, Command* chosen) {
  CLI::App* const index = app->add_subcommand("index", "build, measure, show, merge and search FAISS indexes");
  index->require_subcommand(1);
  index->footer(
      "Examples:\n  reembed index build vectors.npy -o vectors.faiss\n  reembed index eval vectors.faiss\n  reembed "
      "index info "
      "vectors.faiss");
  AddBuild(index, chosen);
  AddEval(index, chosen);
  AddInfo(index, chosen);
  AddIndexSearch(index, words, chosen);
  AddIndexMerge(index, chosen);
}

}  // namespace reembed
