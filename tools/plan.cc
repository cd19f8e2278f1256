// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/plan_numbers.h"
#include "tools/plan_text.h"
#include "tools/preflight.h"
#include "tools/registry.h"
#include "tools/resolve.h"
#include "tools/resolve_shard.h"
#include "tools/saved_plan.h"
#include "tools/shard_parent.h"
#include "tools/signals.h"
#include "tools/streams.h"
#include "tools/token_counting.h"

namespace reembed {
namespace {

// What --shards and --out ask for, before anything is read. *parent: the folder of the shares.
absl::Status CheckShardOptions(const CommandOptions& options, const std::vector<ResolvedJob>& jobs,
                               std::string* parent) {
  if (!options.shard.empty()) {
    return absl::InvalidArgumentError("--shard: a plan covers all shards; give their number with --shards N");
  }
  if (!options.plan.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--plan goes with `reembed run`; make a plan with `reembed plan ... --out ", options.plan, "`"));
  }
  if (options.shards == 0) {
    const bool read_once =
        std::any_of(jobs.begin(), jobs.end(), [](const ResolvedJob& job) { return job.source.kind->is_stream; });
    if (options.out.empty() || !read_once) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "--out: standard input can be read only once, so a plan of it cannot be used later");
  }
  if (options.shards < 1 || options.shards > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat("--shards ", options.shards, ": expected 1 to ", kMaxShards, " shards"));
  }
  if (jobs.size() > 1) {
    return absl::InvalidArgumentError(
        "--shards: this job has several streams; choose one with --stream, and give each an --out of its own");
  }
  if (options.out.empty() && options.job.empty()) {
    return absl::InvalidArgumentError(
        "--shards: say with --out DIR where the plan goes; every shard names it with --job");
  }
  ABSL_RETURN_IF_ERROR(CheckCanBeSharded(jobs.front()));
  *parent = AbsolutePath(options.out.empty() ? options.job : options.out);
  if (!std::filesystem::exists(*parent + "/ledger.db")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(*parent, ": holds a job without shards; name another folder"));
}

// Writes the plan, or finds that it is there. Returns it.
absl::StatusOr<ShardPlan> PlanShards(const CommandOptions& options, const std::string& parent, const ResolvedJob& job,
                                     const PlanNumbers& numbers) {
  ABSL_RETURN_IF_ERROR(MakeOwnFolder(parent));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, LockParent(parent));
  absl::StatusOr<ShardPlan> there = ReadShardPlan(parent);
  ShardPlan plan = PlanOf(job, options.shards);
  if (!absl::IsNotFound(there.status())) {
    ABSL_RETURN_IF_ERROR(there.status());
    ABSL_RETURN_IF_ERROR(CheckShardPlan(parent, *there, options.shards, job.identity, plan.targets));
    return there;
  }
  plan.rows = numbers.rows;
  if (numbers.price_known) plan.cost_usd = numbers.cost_usd;
  ABSL_RETURN_IF_ERROR(CutSource(job, &plan));
  ABSL_RETURN_IF_ERROR(WriteShardPlan(parent, &plan));
  return plan;
}

void PrintShards(const CommandOptions& options, const std::string& parent, int64_t rows, const ShardPlan& plan) {
  if (options.json) {
    JsonLine line("shards");
    std::cout << line.Add("shards", plan.shards).Add("plan", plan.id).Add("out", parent).ToString() << "\n";
  } else {
    std::cout << "shards      " << plan.shards << " of about " << WithCommas(rows / plan.shards) << " rows: `--job "
              << parent << " --shard 0/" << plan.shards << "` to `--shard " << plan.shards - 1 << "/" << plan.shards
              << "`\n";
  }
}

// What is behind the plans of the streams, for people.
void PrintEnd(const CommandOptions& options, bool several, const PlanNumbers& total) {
  if (several) {
    std::cout << "together    " << Counted(total.rows, "row", "rows") << ", about "
              << Counted(total.tokens, "token", "tokens")
              << (total.cost_usd > 0 ? absl::StrCat(", ", MoneyText(total.cost_usd)) : "") << "\n";
  }
  std::cout << (options.shards > 0
                    ? std::string("the plan of the shards was written, and nothing else was written or sent")
                : !options.out.empty()
                    ? absl::StrCat("nothing was written but ", options.out, ", and nothing sent; reembed run --plan ",
                                   options.out, " does exactly this")
                    : "nothing was written or sent")
            << std::endl;
}

}  // namespace

ExitCode PlanCommand(CommandOptions options, const Environment& environment) {
  const StopSignals signals({.command = "plan", .left = "nothing was changed", .json = options.json});
  const auto fail = [&](const absl::Status& status) {
    std::vector<std::string> uris = options.targets;
    uris.push_back(options.source);
    return Fail("plan", WithQuotingAdvice(status, uris), options.json);
  };
  absl::StatusOr<std::vector<ResolvedJob>> jobs = ResolveStreams(options, environment, KeyNeed::kNone);
  if (!jobs.ok()) return fail(jobs.status());
  if (jobs->front().directory.empty()) return fail(CheckJobsFolder(environment));
  if (absl::Status dropped = DropAbsentStreams(&*jobs); !dropped.ok()) return fail(dropped);
  if (absl::Status user = CheckUser(*jobs); !user.ok()) return fail(user);
  const absl::StatusOr<std::unique_ptr<TokenCounting>> counting = TokenCounting::Make(jobs->front());
  if (!counting.ok()) return fail(counting.status());
  for (ResolvedJob& job : *jobs) job.pipeline.text_limit = (*counting)->limit();
  std::string parent;
  if (absl::Status asked = CheckShardOptions(options, *jobs, &parent); !asked.ok()) return fail(asked);
  const bool several = !jobs->front().stream.empty();
  PlanNumbers total;
  std::vector<PlannedStream> planned;
  for (const ResolvedJob& job : *jobs) {
    absl::StatusOr<Preflight> preflight = Check(job);
    if (!preflight.ok()) return fail(preflight.status());
    const absl::StatusOr<PlanNumbers> reckoned = ReckonStream(job, counting->get(), environment, &*preflight);
    if (!reckoned.ok()) return fail(reckoned.status());
    const PlanNumbers& plan = *reckoned;
    AddNumbers(plan, &total);
    planned.push_back(PlannedStreamOf(job, *preflight, plan));
    if (!options.json) {
      PrintPlanText(job, **counting, *preflight, plan);
      if (several) std::cout << "\n";
    } else if (several) {
      PrintPlanJson("stream", job, job.directory, **counting, plan);
    }
  }
  const ResolvedJob& first = jobs->front();
  if (options.shards > 0) {
    const absl::StatusOr<ShardPlan> shards = PlanShards(options, parent, first, total);
    if (!shards.ok()) return fail(shards.status());
    PrintShards(options, parent, total.rows, *shards);
  }
  const bool saves = options.shards == 0 && !options.out.empty();
  if (saves) {
    if (absl::Status written = WritePlan(options.out, options, planned); !written.ok()) return fail(written);
    if (options.json) std::cout << JsonLine("saved_plan").Add("file", options.out).ToString() << "\n";
  }
  if (options.json) {
    const std::string directory =
        several ? std::filesystem::path(first.directory).parent_path().string() : first.directory;
    PrintPlanJson("plan", first, directory, **counting, total);
    return kExitDone;
  }
  PrintEnd(options, jobs->size() > 1, total);
  return kExitDone;
}

}  // namespace reembed
