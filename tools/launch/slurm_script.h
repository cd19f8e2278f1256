// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LAUNCH_SLURM_SCRIPT_H_
#define REEMBED_TOOLS_LAUNCH_SLURM_SCRIPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// The batch script of an array job, as a text. Pure.
namespace reembed {

struct SlurmScriptParts {
  std::string name;
  std::string comment;             // by which the job's tasks are found again
  std::string folder;              // where the command runs
  std::string logs;                // folder of shard-0003.log
  std::string notes;               // folder in which each task keeps what became of it: 0003 has "CODE TRIES"
  std::string partition, account;  // empty: not said
  absl::Duration time;             // zero: not said
  int64_t cpus = 0;                // 0: not said
  int64_t memory_bytes = 0;        // 0: not said
  int64_t shards = 1;
  int64_t at_once = 0;  // 0: any number
  int64_t retries = 0;
  std::vector<std::string> sbatch;  // further words of sbatch
  std::vector<std::string> setup;   // lines of shell, as they are
  std::vector<std::string> command;
};

// A bash script that sbatch takes as it is. It runs the command, and by its exit code (AfterExitOf()) queues its task
// again, ends, or takes the tasks that wait out of the queue.
// Errors: kInvalidArgument (a name with control characters, a folder of logs with a backslash).
absl::StatusOr<std::string> SlurmScript(const SlurmScriptParts& parts);

// The value of --array: LIST%AT_ONCE.
std::string ArrayWord(absl::string_view list, int64_t at_once);

// A limit of time as Slurm writes it (minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]),
// or a duration as 90m and 8h. Errors: kInvalidArgument.
absl::StatusOr<absl::Duration> ParseSlurmTime(absl::string_view text);

// D-HH:MM:SS.
std::string FormatSlurmTime(absl::Duration time);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LAUNCH_SLURM_SCRIPT_H_
