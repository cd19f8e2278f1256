// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "tools/byte_size.h"
#include "tools/command_output.h"
#include "tools/format.h"
#include "tools/launch/launch.h"
#include "tools/launch/slurm_script.h"
#include "tools/output.h"
#include "tools/shard_parent.h"
#include "tools/shard_plan.h"

namespace reembed {
namespace {

constexpr absl::Duration kLongestAnswer = absl::Minutes(2);  // of a controller
// Behind --stop-wait: a shard that ends by itself is tidier than one that Slurm kills.
constexpr absl::Duration kTimeToEnd = absl::Seconds(110);

// What there is to do. Of absolute paths.
struct SlurmPlan {
  std::string folder;       // JOB/launch
  std::string script_path;  // in it
  std::string script;
  std::string comment;
  std::string logs;   // folder in it
  std::string notes;  // likewise
};

// The shards by what they need.
struct ShardStates {
  std::vector<int> complete, under_way, to_start;
  std::vector<std::string> ends;  // of to_start, as far as known: "3 (exit code 6)"
  // Of under_way those that Slurm starts only when it is told to: "3 (JobHeldUser)", and its names for them.
  std::vector<int> held;
  std::vector<std::string> reasons, held_tasks;
};

// A task as squeue shows it.
struct Task {
  std::string id;      // "12_3"
  std::string reason;  // why it is not running; "None" if it is
};

absl::StatusOr<std::string> AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return absl::InternalError(absl::StrCat(path, ": ", error.message()));
  std::string text = absolute.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

// A shard ends by itself before Slurm ends it.
absl::Status LimitRun(absl::Duration time, CommandOptions* run) {
  if (time == absl::ZeroDuration()) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const absl::Duration longest, MaxDuration(*run));
  if (longest == absl::InfiniteDuration()) {
    const absl::Duration reserve = std::min(StopWait(*run) + kTimeToEnd, time / 2);
    run->max_duration = absl::StrCat(absl::ToInt64Seconds(time - reserve));
    return absl::OkStatus();
  }
  if (longest < time) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--max-duration ", run->max_duration, ": expected less than --time ",
                                                 FormatSlurmTime(time), ", so that a shard ends before Slurm ends it"));
}

absl::StatusOr<SlurmPlan> PlanSlurm(SlurmOptions options) {
  LaunchOptions& launch = options.launch;
  SlurmPlan plan;
  SlurmScriptParts parts;
  ABSL_RETURN_IF_ERROR(CheckLaunch(launch, "Slurm"));
  for (const std::string& line : options.setup) ABSL_RETURN_IF_ERROR(CheckShellLine("setup", line, "Slurm"));
  for (const std::string& word : options.sbatch) ABSL_RETURN_IF_ERROR(CheckShellLine("sbatch", word, "Slurm"));
  ABSL_ASSIGN_OR_RETURN(launch.run.job, AbsolutePath(launch.run.job));
  if (!launch.run.job_file.empty()) {
    ABSL_ASSIGN_OR_RETURN(launch.run.job_file, AbsolutePath(launch.run.job_file));
  }
  if (!options.time.empty()) {
    ABSL_ASSIGN_OR_RETURN(parts.time, ParseSlurmTime(options.time));
  }
  ABSL_RETURN_IF_ERROR(LimitRun(parts.time, &launch.run));
  if (launch.cpus != std::floor(launch.cpus)) {
    return absl::InvalidArgumentError(absl::StrCat("--cpus ", launch.cpus, ": Slurm gives whole ones"));
  }
  ABSL_ASSIGN_OR_RETURN(parts.memory_bytes, ParseBytes("--memory", launch.memory));
  plan.folder = launch.run.job + "/launch";
  plan.script_path = plan.folder + "/slurm.sh";
  plan.comment = "reembed " + launch.run.job;
  plan.logs = plan.folder + "/log";
  plan.notes = plan.folder + "/slurm";
  std::error_code ignored;
  std::string program = options.program;
  if (program.empty()) program = std::filesystem::read_symlink("/proc/self/exe", ignored).string();
  parts.name = launch.name.empty() ? NameOfFolder(launch.run.job) : launch.name;
  parts.comment = plan.comment;
  parts.folder = std::filesystem::current_path(ignored).string();
  parts.logs = plan.logs;
  parts.notes = plan.notes;
  parts.partition = options.partition;
  parts.account = options.account;
  parts.cpus = static_cast<int64_t>(launch.cpus);
  parts.shards = launch.shards;
  parts.at_once = launch.at_once;
  parts.retries = launch.retries;
  parts.sbatch = options.sbatch;
  parts.setup = options.setup;
  parts.command = ShardCommand(launch);
  parts.command.insert(parts.command.begin(), program);
  ABSL_ASSIGN_OR_RETURN(plan.script, SlurmScript(parts));
  return plan;
}

absl::Status Failed(const std::string& program, const ProgramResult& result) {
  const std::string said(absl::StripAsciiWhitespace(result.err.empty() ? result.out : result.err));
  return absl::UnavailableError(
      absl::StrCat(program, " ended with exit code ", result.exit_code, said.empty() ? "" : ": ", said));
}

// Tasks of this job that Slurm has, waiting or running.
absl::StatusOr<std::map<int, Task>> TasksUnderWay(const std::string& comment) {
  ABSL_ASSIGN_OR_RETURN(
      const ProgramResult asked,
      RunProgram({"squeue", "--me", "--noheader", "--array", "--format=%K|%F|%r|%k"}, "", kLongestAnswer));
  if (asked.exit_code != 0) return Failed("squeue", asked);
  std::map<int, Task> tasks;
  for (const absl::string_view line : absl::StrSplit(asked.out, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits('|', 3));
    int task = 0;
    if (parts.size() != 4 || absl::StripAsciiWhitespace(parts[3]) != comment) continue;
    if (absl::SimpleAtoi(parts[0], &task)) tasks[task] = {absl::StrCat(parts[1], "_", task), std::string(parts[2])};
  }
  return tasks;
}

// JobHeldUser, JobHeldAdmin, "launch failed requeued held".
bool IsHeld(const Task& task) { return absl::StrContains(absl::AsciiStrToLower(task.reason), "held"); }

// "exit code 6" of the task's note; empty: it has none.
std::string LastEnd(const std::string& note) {
  std::ifstream file(note);
  int code = 0;
  return file >> code ? absl::StrCat("exit code ", code) : "";
}

absl::StatusOr<ShardStates> FindShards(const LaunchOptions& launch, const SlurmPlan& plan) {
  ABSL_ASSIGN_OR_RETURN(const auto under_way, TasksUnderWay(plan.comment));
  ShardStates states;
  for (int shard = 0; shard < launch.shards; ++shard) {
    const std::string folder = absl::StrCat(launch.run.job, "/", Shard{shard, launch.shards}.Folder());
    if (const auto task = under_way.find(shard); task != under_way.end()) {
      states.under_way.push_back(shard);
      if (!IsHeld(task->second)) continue;
      states.held.push_back(shard);
      states.reasons.push_back(absl::StrCat(shard, " (", task->second.reason, ")"));
      states.held_tasks.push_back(task->second.id);
    } else if (!launch.complete && IsShardComplete(folder)) {
      states.complete.push_back(shard);
    } else {
      states.to_start.push_back(shard);
      const std::string end = LastEnd(absl::StrFormat("%s/%04d", plan.notes, shard));
      if (!end.empty()) states.ends.push_back(absl::StrCat(shard, " (", end, ")"));
    }
  }
  return states;
}

absl::Status WriteScript(const LaunchOptions& launch, const SlurmPlan& plan) {
  std::error_code above;  // what cannot be made above is said of what lies in it
  std::filesystem::create_directories(std::filesystem::path(launch.run.job).parent_path(), above);
  for (const std::string& folder : {launch.run.job, plan.folder, plan.logs, plan.notes}) {
    // A job is for its user alone.
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
      return absl::InvalidArgumentError(absl::StrCat(folder, ": cannot be made: ", strerror(errno)));
    }
  }
  const std::string half = plan.script_path + ".new";
  std::ofstream file(half, std::ios::trunc);
  file << plan.script;
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(half, plan.script_path, error);
  if (!file || error) {
    return absl::InvalidArgumentError(absl::StrCat(plan.script_path, ": cannot be written; is the disk full?"));
  }
  return absl::OkStatus();
}

// The number that Slurm gave the array job.
absl::StatusOr<std::string> Submit(const LaunchOptions& launch, const SlurmPlan& plan, const std::string& list) {
  ABSL_RETURN_IF_ERROR(WriteScript(launch, plan));
  ABSL_ASSIGN_OR_RETURN(
      const ProgramResult asked,
      RunProgram({"sbatch", "--parsable", absl::StrCat("--array=", ArrayWord(list, launch.at_once)), plan.script_path},
                 "", kLongestAnswer));
  if (absl::StrContains(asked.err, "Invalid job array specification")) {
    return absl::InvalidArgumentError(absl::StrCat(Failed("sbatch", asked).message(), "; expected fewer --shards than ",
                                                   "MaxArraySize and the limits of your account, got ", launch.shards,
                                                   " (scontrol show config)"));
  }
  if (asked.exit_code != 0) return Failed("sbatch", asked);
  const std::string id(absl::StripAsciiWhitespace(asked.out));
  return id.substr(0, id.find(';'));  // behind it is the cluster
}

void Report(const LaunchOptions& launch, const SlurmPlan& plan, const ShardStates& states, const std::string& id) {
  const std::string list = IndexList(states.to_start);
  if (launch.run.json) {
    JsonLine line("launch");
    line.Add("scheduler", "slurm").Add("job", launch.run.job).Add("shards", launch.shards);
    line.AddRaw("slurm_job", id.empty() ? "null" : id).Add("started", list);
    line.Add("under_way", IndexList(states.under_way)).Add("complete", IndexList(states.complete));
    line.Add("held", IndexList(states.held));
    line.Add("script", plan.script_path).Add("logs", plan.logs).Add("exit_code", 0);
    std::cout << line.ToString() << std::endl;
    return;
  }
  if (!states.complete.empty()) std::cout << "complete: " << IndexList(states.complete) << "\n";
  if (!states.under_way.empty()) std::cout << "under way: " << IndexList(states.under_way) << "\n";
  if (!states.held.empty()) {
    std::cout << "held by Slurm: " << absl::StrJoin(states.reasons, ", ") << "; it starts them after: scontrol release "
              << absl::StrJoin(states.held_tasks, ",") << "\n";
  }
  if (states.to_start.empty()) {
    std::cout << "nothing to start" << std::endl;
    return;
  }
  if (!states.ends.empty()) std::cout << "started again: " << absl::StrJoin(states.ends, ", ") << "\n";
  std::cout << "Slurm job " << id << ": shards " << list << " of " << launch.shards << "\nlogs: " << plan.logs
            << "\nwatch: squeue --job " << id << "; reembed status " << launch.run.job
            << "\nthe same command starts only the shards that have failed" << std::endl;
}

}  // namespace

ExitCode LaunchSlurmCommand(SlurmOptions options, const Environment&) {
  const bool json = options.launch.run.json;
  const auto fail = [json](const absl::Status& status) { return Fail("launch slurm", status, json); };
  const absl::StatusOr<SlurmPlan> plan = PlanSlurm(options);
  if (!plan.ok()) return fail(plan.status());
  if (options.launch.print) {
    std::cout << plan->script << std::flush;
    return kExitDone;
  }
  if (absl::StatusOr<std::string> job = AbsolutePath(options.launch.run.job); job.ok()) options.launch.run.job = *job;
  const absl::StatusOr<ShardStates> states = FindShards(options.launch, *plan);
  if (!states.ok()) return fail(states.status());
  std::string id;
  if (!states->to_start.empty()) {
    const absl::StatusOr<std::string> submitted = Submit(options.launch, *plan, IndexList(states->to_start));
    if (!submitted.ok()) return fail(submitted.status());
    id = *submitted;
  }
  Report(options.launch, *plan, *states, id);
  return kExitDone;
}

}  // namespace reembed
