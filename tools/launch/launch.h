// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LAUNCH_LAUNCH_H_
#define REEMBED_TOOLS_LAUNCH_LAUNCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/environment.h"
#include "tools/exit_code.h"
#include "tools/options.h"

// `reembed launch`: the shards of one job on a scheduler that people have. It starts, watches and repeats them; here is
// written what it is told. docs: data/manual/machines.md, "Slurm and Kubernetes".
namespace reembed {

// What all schedulers are told.
struct LaunchOptions {
  CommandOptions run;     // flags of every shard; `job` is the parent of them all
  int shards = 0;         // 1 and more
  int64_t at_once = 0;    // 0: as many as there is room for
  int64_t retries = 5;    // how often a shard is started again that has failed for a while
  std::string name;       // of the scheduler's job; empty: that of the parent's folder
  double cpus = 0;        // of each shard; 0: as the scheduler has it
  std::string memory;     // likewise, as ParseBytes() reads it; empty: as the scheduler has it
  bool complete = false;  // also shards that are complete
  bool print = false;     // show what would be submitted, and do nothing
};

struct SlurmOptions {
  LaunchOptions launch;
  std::string time;  // see ParseSlurmTime(); empty: as the partition has it
  std::string partition, account;
  std::vector<std::string> sbatch;  // further words for sbatch
  std::vector<std::string> setup;   // lines of shell before the command
  std::string program;              // path of the command on the nodes; empty: that of this process
};

// Submits an array job whose tasks are the shards that are neither complete nor under way: all at first, and those
// that failed when it is called again.
ExitCode LaunchSlurmCommand(SlurmOptions options, const Environment& environment);

struct KubernetesOptions {
  LaunchOptions launch;
  std::string image;
  std::string name_space;            // empty: that of kubectl's context
  std::vector<std::string> claims;   // NAME or NAME=PATH; the first has the job
  std::vector<std::string> secrets;  // NAME: its keys are variables; NAME=PATH: they are files there
};

// Creates an Indexed Job, or puts it in the place of an earlier one of its name that has ended.
ExitCode LaunchKubernetesCommand(const KubernetesOptions& options, const Environment& environment);

// What is the same wherever a job is launched: a parent, a source that every machine can read, no secret in a word, and
// no other number of shards than the parent has where that can be seen from here. `where`: "Slurm", for messages.
// Errors: kInvalidArgument.
absl::Status CheckLaunch(const LaunchOptions& options, absl::string_view where);

// Whether no word of a line of shell, given by this flag, looks like a secret. Errors: kInvalidArgument.
absl::Status CheckShellLine(absl::string_view flag, absl::string_view line, absl::string_view where);

// The words behind `reembed` of every shard; which one it is, is taken from the scheduler's variable.
std::vector<std::string> ShardCommand(const LaunchOptions& options);

// The last name of a path, for the name of a job.
std::string NameOfFolder(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LAUNCH_LAUNCH_H_
