// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_BENCH_COMMANDS_H_
#define REEMBED_TOOLS_BENCH_COMMANDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/options.h"

// The subcommands of `reembed bench` beside that of an endpoint, as those in commands.h.
namespace reembed {

// What all measures of stores have in common.
struct BenchCommon {
  std::string db_token_env;     // variable with the token of a libSQL server
  std::string db_password_env;  // variable with the password of a PostgreSQL or FalkorDB server
  std::string env_file;
  bool no_env_file = false;
  double seconds = 2;  // for each measure
  std::string report;  // NAME.html or NAME.md; empty: none
  bool json = false;
};

struct BenchTargetOptions {
  BenchCommon common;
  std::vector<std::string> targets;
  int dimensions = 1536;
  int64_t rows = 10000;              // of each measure, at most
  int batch_size = 1024;             // the most rows in one write
  std::vector<std::string> options;  // "name=value", to add to the address; empty: those worth it
};
ExitCode BenchTargetCommand(const BenchTargetOptions& options, const Environment& environment);

struct BenchSourceOptions {
  BenchCommon common;
  std::string source;
  int64_t rows = 0;  // to read at most; 0: any number
  std::string where;
};
ExitCode BenchSourceCommand(const BenchSourceOptions& options, const Environment& environment);

struct BenchIndexOptions {
  BenchCommon common;
  std::string vectors;                 // job directory, file or URI; empty: made up
  int64_t rows = 20000;                // that are made up
  int dimensions = 0;                  // of them; 0: 384
  std::vector<std::string> factories;  // empty: the usual ones
  std::string metric = "cosine";
  double recall = 0.95;  // what a search must find, to be the best
  int64_t queries = 200;
  int threads = 0;  // that build; 0: one per core
};
ExitCode BenchIndexCommand(const BenchIndexOptions& options, const Environment& environment);

struct BenchAllOptions {
  CommandOptions job;  // as of run; what caps its money and tokens caps the measure, too
  double seconds = 2;
  int64_t rows = 10000;              // made-up ones for each target, at most
  int64_t tokens = 200000;           // to the endpoint at most, where it costs something
  std::vector<std::string> without;  // "source", "endpoint", "target"
};
ExitCode BenchAllCommand(const BenchAllOptions& options, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_BENCH_COMMANDS_H_
