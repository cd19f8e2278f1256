// SPDX-License-Identifier: Apache-2.0
#include "tools/resolve_shard.h"

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/pace/request_packer.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/job/owed_table.h"
#include "tools/registry.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

const std::vector<Store>& WholeTargets(const ResolvedJob& job) {
  return job.share.has_value() ? job.share->whole_targets : job.targets;
}

std::vector<std::string> NamesOf(const std::vector<Store>& targets) {
  std::vector<std::string> names;
  names.reserve(targets.size());
  for (const Store& target : targets) names.push_back(target.location.ToString());
  return names;
}

absl::Status CheckFlags(const CommandOptions& options) {
  if (options.force_recreate) {
    return absl::InvalidArgumentError(
        "--force-recreate: not with --shard, as what one share drops another may have filled; drop the tables first, "
        "with a run that has neither");
  }
  if (options.record) {
    return absl::InvalidArgumentError(
        "--record: not with --shard, as the receipt is that of a whole job; leave it out");
  }
  if (absl::StartsWith(options.max_spend, "+")) {
    return absl::InvalidArgumentError(absl::StrCat("--max-spend ", options.max_spend,
                                                   ": with --shard name the sum that all shares may spend together"));
  }
  return absl::OkStatus();
}

// Tables are filled by all shares; of a file each has a part in its own folder, so that a folder is whole by itself.
Store PartOf(const Store& whole, size_t number, const std::string& directory) {
  const StoreKind& kind = *whole.kind;
  if (kind.whole_file == nullptr) return whole;
  Location part{.scheme = whole.location.scheme, .parameters = whole.location.parameters};
  if (kind.part_scheme != nullptr) part = {.scheme = kind.part_scheme};
  part.path = absl::StrCat(directory, "/part-", number, "-", fs::path(whole.location.path).filename().string());
  return StoreOf(std::move(part));
}

std::string LimitText(const RateLimit& limit) {
  std::vector<std::string> parts;
  if (limit.requests_per_minute > 0) parts.push_back(absl::StrFormat("%.4g requests", limit.requests_per_minute));
  if (limit.tokens_per_minute > 0) parts.push_back(absl::StrFormat("%.8g tokens", limit.tokens_per_minute));
  return absl::StrJoin(parts, " and ");
}

// Without somebody who counts for all, no share may take more than its part.
void TakeShareOfRate(int of, ResolvedJob* job) {
  if (job->shared.quota.has_value() || of == 1) return;
  std::vector<std::string> shares;
  const auto divide = [&](ApiOptions* client) {
    client->limit.requests_per_minute /= of;
    client->limit.tokens_per_minute /= of;
    if (std::string text = LimitText(client->limit); !text.empty()) shares.push_back(std::move(text));
  };
  divide(&job->client);
  if (!job->endpoints.empty()) shares.clear();
  for (ResolvedEndpoint& endpoint : job->endpoints) divide(&endpoint.client);
  job->pipeline.quota_tokens =
      job->endpoints.empty() ? QuotaTokensPerRequest(job->client.limit) : job->pipeline.quota_tokens / of;
  if (!shares.empty()) {
    job->notes.push_back(absl::StrCat("without --quota each of ", of, " shards takes its part of the limits: ",
                                      absl::StrJoin(shares, ", "), " a minute"));
  }
  if (!job->options.max_spend.empty()) {
    job->notes.push_back(absl::StrCat("without --quota each of ", of, " shards spends at most 1/", of,
                                      " of --max-spend ", job->options.max_spend));
  }
}

}  // namespace

absl::Status CheckIsOfNoShards(const std::string& directory) {
  if (directory.empty()) return absl::OkStatus();
  const absl::StatusOr<ShardPlan> plan = ReadShardPlan(directory);
  if (absl::IsNotFound(plan.status())) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(plan.status());
  return absl::InvalidArgumentError(absl::StrCat("--job ", directory, ": is the folder of ", plan->shards,
                                                 " shards; say which one with --shard I/", plan->shards,
                                                 ", or name another folder for the whole job"));
}

absl::Status CheckCanBeSharded(const ResolvedJob& job) {
  if (job.source.kind->is_stream) {
    return absl::InvalidArgumentError(
        "--shard: standard input is read once, as it comes, and has no shares; save it to a file first");
  }
  if (job.source.kind->cut == nullptr) {
    std::vector<std::string> able = NamesOfKinds([](const StoreKind& kind) { return kind.cut != nullptr; });
    return absl::InvalidArgumentError(
        absl::StrCat("--shard: no shares can be given of ", PlaceName(job.source.location), " (",
                     job.source.kind->title, "), only of ", absl::StrJoin(able, ", "),
                     "; run it on one machine, or name the table of its rows as --source"));
  }
  for (const Store& target : job.targets) {
    if (!target.kind->is_stream) continue;
    return absl::InvalidArgumentError(
        "--target -: standard output is that of one share alone; name a file, of which every share writes a part");
  }
  return absl::OkStatus();
}

namespace {

std::string EndOfSelection(const Shard& shard, const ShardPlan& plan) {
  return absl::StrCat(", shard ", shard.Text(), " of plan ", plan.id);
}

}  // namespace

ShardPlan PlanOf(const ResolvedJob& job, int shards) {
  ShardPlan plan{.shards = shards, .job = job.identity, .targets = NamesOf(WholeTargets(job))};
  plan.job.selection = std::string(ConditionOf(plan.job.selection));
  return plan;
}

absl::Status CutSource(const ResolvedJob& job, ShardPlan* plan) {
  Selection whole = job.selection;
  whole.range = {};
  ABSL_ASSIGN_OR_RETURN(plan->cuts, job.source.kind->cut(job.source.location, whole, plan->shards));
  if (plan->cuts.size() == static_cast<size_t>(plan->shards) - 1) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(PlaceName(job.source.location), ": expected ", plan->shards - 1,
                                          " boundaries between shares, got ", plan->cuts.size()));
}

ResolvedJob WholeOf(const ResolvedJob& job) {
  ResolvedJob whole = job;
  if (!job.share.has_value()) return whole;
  whole.share.reset();
  whole.directory = job.share->parent;
  whole.targets = job.share->whole_targets;
  whole.selection.range = {};
  if (job.share->plan.has_value()) {
    const std::string end = EndOfSelection(job.share->shard, *job.share->plan);
    whole.identity.selection = std::string(absl::StripSuffix(whole.identity.selection, end));
  }
  return whole;
}

absl::Status TakeRange(ShardPlan plan, ResolvedJob* job) {
  ShardOfJob& share = *job->share;
  ABSL_RETURN_IF_ERROR(CheckShardPlan(share.parent, plan, share.shard.of, job->identity, NamesOf(share.whole_targets)));
  job->selection.range = plan.RangeOf(share.shard);
  // So that a folder of another plan is known for one, whatever became of the plan.
  absl::StrAppend(&job->identity.selection, EndOfSelection(share.shard, plan));
  share.plan = std::move(plan);
  return absl::OkStatus();
}

absl::Status ResolveShard(const std::string& text, const std::string& directory, const Environment& environment,
                          std::vector<ResolvedJob>* jobs) {
  ABSL_ASSIGN_OR_RETURN(const Shard shard, ParseShard(text, environment));
  if (jobs->size() > 1) {
    std::vector<std::string> names;
    for (const ResolvedJob& job : *jobs) names.push_back(job.stream);
    return absl::InvalidArgumentError(absl::StrCat("--shard: this job has the streams ", absl::StrJoin(names, ", "),
                                                   "; choose one with --stream, and give each a --job of its own"));
  }
  if (directory.empty()) return absl::OkStatus();  // said elsewhere
  ResolvedJob& job = jobs->front();
  ABSL_RETURN_IF_ERROR(CheckFlags(job.options));
  ABSL_RETURN_IF_ERROR(CheckCanBeSharded(job));
  const fs::path path = directory;
  ShardOfJob share{.shard = shard, .parent = directory, .whole_targets = job.targets};
  if (ShardOfFolder(path.filename().string()).has_value()) share.parent = path.parent_path().string();
  if (fs::exists(fs::path(share.parent) / "ledger.db")) {
    return absl::InvalidArgumentError(absl::StrCat(
        share.parent, ": holds a job without shards, and no folder of several; name another one with --job"));
  }
  job.stream.clear();  // the folder is that of one
  job.directory = absl::StrCat(share.parent, "/", shard.Folder());
  for (size_t i = 0; i < job.targets.size(); ++i) job.targets[i] = PartOf(job.targets[i], i, job.directory);
  job.share = std::move(share);
  TakeShareOfRate(shard.of, &job);
  absl::StatusOr<ShardPlan> plan = ReadShardPlan(job.share->parent);
  if (absl::IsNotFound(plan.status())) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(plan.status());
  return TakeRange(*std::move(plan), &job);
}

}  // namespace reembed
