// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SHARDS_SHARD_JOB_H_
#define REEMBED_TESTS_SHARDS_SHARD_JOB_H_

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/fakes/process.h"
#include "tests/fakes/sqlite_file.h"
#include "tests/places.h"

// What tests of jobs in shares have in common.
namespace reembed {

// `reembed run` with the built-in embedder and these flags.
inline std::vector<std::string> RunCommandOf(const std::vector<std::string>& place, const std::string& job) {
  std::vector<std::string> args = {REEMBED_BINARY, "run",        "--yes", "--embedder", "builtin", "--dimensions",
                                   "32",           "--progress", "off",   "--job",      job};
  args.insert(args.end(), place.begin(), place.end());
  return args;
}

inline std::vector<std::string> With(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

// All shares at the same time; fails the test where one does not end well. `rows_went`: rows that are deleted before
// they have a vector are rejected ones.
inline void RunAllShards(const std::vector<std::string>& command, int shards, bool rows_went = false) {
  std::vector<std::unique_ptr<Process>> running;
  for (int i = 0; i < shards; ++i) {
    running.push_back(std::make_unique<Process>(With(command, {"--shard", absl::StrCat(i, "/", shards)})));
  }
  for (auto& process : running) {
    const ProcessResult done = process->Wait();
    EXPECT_TRUE(done.exit_code == 0 || (rows_went && done.exit_code == 3)) << done.exit_code << done.out << done.err;
  }
}

inline ProcessResult Reembed(const std::vector<std::string>& words) {
  return RunProcess(With({REEMBED_BINARY}, words));
}

// The keys that the ledgers of all shares have, one after the other.
inline std::vector<std::string> LedgerKeys(const std::string& parent, int shards) {
  std::vector<std::string> keys;
  for (int i = 0; i < shards; ++i) {
    char folder[64];
    snprintf(folder, sizeof(folder), "/shard-%04d-of-%04d/ledger.db", i, shards);
    SqliteFile reader;
    reader.Run(absl::StrCat("ATTACH '", parent, folder, "' AS job"));
    const std::string rows = reader.Ask("SELECT key FROM job.rows ORDER BY ordinal");
    for (size_t at = 0; at < rows.size();) {
      const size_t end = std::min(rows.find('\n', at), rows.size());
      keys.push_back(rows.substr(at, end - at));
      at = end + 1;
    }
  }
  return keys;
}

}  // namespace reembed

#endif  // REEMBED_TESTS_SHARDS_SHARD_JOB_H_
