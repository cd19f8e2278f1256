// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_INDEX_COMMANDS_H_
#define REEMBED_TOOLS_INDEX_COMMANDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tools/commands.h"
#include "tools/environment.h"
#include "tools/exit_code.h"

// The subcommands of `reembed index`, as those in commands.h.
namespace reembed {

// What all commands about indexes have in common.
struct IndexCommon {
  int threads = 0;              // 0: one per core
  std::string db_token_env;     // variable with the token of a libSQL server
  std::string db_password_env;  // variable with the password of a PostgreSQL or FalkorDB server
  int dimensions = 0;           // of places that hold vectors of several widths
  std::string progress = "auto";
  bool json = false;
  bool quiet = false;
};

struct IndexBuildCommandOptions {
  IndexCommon common;
  std::string vectors;  // job directory, file or URI
  std::string output;   // path of the index
  std::string factory;  // of FAISS; empty: HNSW32
  std::string metric = "cosine";
  std::string model;         // that made the vectors; empty: what the place says, or none
  std::string texts;         // URI of the store with the texts; empty: what the place says
  std::string memory;        // "4GiB": the searched index may take so much; with `recall` in place of `factory`
  double recall = 0;         // of the ten nearest that a search shall find; 0: not said
  double latency_ms = 0;     // a search may take on average; 0: any
  std::string build_memory;  // "2GiB": building may take so much; empty: any
  int64_t train_rows = 0;
  int ef_construction = 0;
  uint64_t seed = 1234;
  std::string simd = "auto";
  std::string storage = "auto";
  bool deterministic = false;
  bool skip_unusable = false;
  double keep_every_seconds = 60;
};
ExitCode IndexBuildCommand(const IndexBuildCommandOptions& options, const Environment& environment);

struct IndexEvalCommandOptions {
  IndexCommon common;
  std::string index;
  std::string vectors;                 // that the index was built from; empty: those it holds, or what it remembers
  std::string queries_file;            // place of vectors; empty: rows of the set itself
  int64_t queries = 1000;              // at most
  std::string truth;                   // HDF5 in ann-benchmarks layout with `test` and `neighbors`
  std::string write_truth;             // the same, to write
  std::vector<int> nprobe, ef_search;  // to measure; empty: a row of powers of two
  std::string html;                    // file to write
  uint64_t seed = 1;                   // of the rows that are asked for
};
ExitCode IndexEvalCommand(const IndexEvalCommandOptions& options, const Environment& environment);

struct IndexSearchCommandOptions {
  SearchCommandOptions search;  // `index` is the path; query empty: `vector`
  std::string vector;           // place of vectors, of which
  int64_t row = 0;              // this one, from 0, is the query
};
ExitCode IndexSearchCommand(const IndexSearchCommandOptions& options, const Environment& environment);

struct IndexMergeCommandOptions {
  IndexCommon common;
  std::vector<std::string> indexes;
  std::string output;
  std::string factory;  // empty: that of the first
};
ExitCode IndexMergeCommand(const IndexMergeCommandOptions& options, const Environment& environment);

struct IndexInfoCommandOptions {
  std::string index;
  bool check = false;  // read all files and compare their checksums
  bool json = false;
};
ExitCode IndexInfoCommand(const IndexInfoCommandOptions& options, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_INDEX_COMMANDS_H_
