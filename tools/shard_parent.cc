// SPDX-License-Identifier: Apache-2.0
#include "tools/shard_parent.h"

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "tools/registry.h"
#include "tools/resolve_shard.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kPatience = absl::Minutes(10);
constexpr absl::Duration kLook = absl::Milliseconds(50);

std::string PreparedPath(const std::string& parent) { return parent + "/prepared"; }
std::string PublishedPath(const std::string& parent) { return parent + "/published"; }
std::string CompletePath(const std::string& folder) { return folder + "/complete"; }

// What is not there is no error.
absl::Status Remove(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  return error ? absl::ErrnoToStatus(error.value(), absl::StrCat(path, ": cannot be removed")) : absl::OkStatus();
}

absl::Status BeginAnew(const std::string& parent) {
  ABSL_RETURN_IF_ERROR(Remove(PreparedPath(parent)));
  return Remove(PublishedPath(parent));
}

// Shares that have begun are of the plan that was there then, and of no other.
absl::Status CheckNothingBegun(const std::string& parent, int shards) {
  for (int i = 0; i < shards; ++i) {
    const std::string name = Shard{i, shards}.Folder();
    if (!fs::exists(absl::StrCat(parent, "/", name, "/ledger.db"))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(ShardPlanPath(parent), ": is not there, but ", name,
                     " is, of a plan that was; put that back, remove the shard-... folders, "
                     "or choose another parent"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardPlan> MakePlan(const ResolvedJob& job) {
  ABSL_RETURN_IF_ERROR(CheckNothingBegun(job.share->parent, job.share->shard.of));
  ShardPlan plan = PlanOf(job, job.share->shard.of);
  ABSL_RETURN_IF_ERROR(CutSource(job, &plan));
  ABSL_RETURN_IF_ERROR(WriteShardPlan(job.share->parent, &plan));
  return plan;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobLock>> LockParent(const std::string& parent) {
  const Moment limit = MonotonicNow() + kPatience;
  std::mutex mutex;
  std::condition_variable never;
  while (true) {
    absl::StatusOr<std::unique_ptr<JobLock>> lock = JobLock::Acquire(parent + "/lock");
    if (!absl::IsAborted(lock.status())) return lock;
    if (MonotonicNow() > limit) {
      return absl::UnavailableError(
          absl::StrCat(lock.status().message(), "; waited for ", absl::FormatDuration(kPatience), ", run again"));
    }
    std::unique_lock<std::mutex> held(mutex);
    never.wait_for(held, absl::ToChronoNanoseconds(kLook));
  }
}

absl::Status TakeShare(ResolvedJob* job) {
  const ShardOfJob& share = *job->share;
  if (share.plan.has_value()) return absl::OkStatus();
  // Nothing is made for a source that has no shares.
  ABSL_RETURN_IF_ERROR(OpenSource(job->source, job->selection).status());
  ABSL_RETURN_IF_ERROR(MakeOwnFolder(share.parent));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, LockParent(share.parent));
  absl::StatusOr<ShardPlan> plan = ReadShardPlan(share.parent);
  if (absl::IsNotFound(plan.status())) plan = MakePlan(*job);
  ABSL_RETURN_IF_ERROR(plan.status());
  return TakeRange(*std::move(plan), job);
}

absl::Status PrepareShared(const ResolvedJob& job, absl::Span<const NamedSink> sinks, int64_t expected_rows,
                           JobStore* store) {
  const std::string& parent = job.share->parent;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, LockParent(parent));
  ABSL_RETURN_IF_ERROR(Remove(CompletePath(job.directory)));
  if (IsPublished(parent)) {
    ABSL_RETURN_IF_ERROR(BeginAnew(parent));
  }
  const bool prepared = fs::exists(PreparedPath(parent));
  for (size_t i = 0; i < sinks.size(); ++i) {
    // A part is this share's alone.
    if (prepared && job.targets[i].kind->whole_file == nullptr) continue;
    ABSL_ASSIGN_OR_RETURN(const SinkPosition last, store->Position(sinks[i].name));
    const SinkContext context{
        .model = job.client.model, .expected_rows = expected_rows, .undo = sinks[i].undo, .begun = last.position > 0};
    ABSL_ASSIGN_OR_RETURN(const bool anew, sinks[i].sink->Prepare(context));
    if (anew && last.position > 0) store->SavePosition(sinks[i].name, 0);
  }
  ABSL_RETURN_IF_ERROR(store->Sync());
  if (prepared) return absl::OkStatus();
  return ReplaceOwnFile(PreparedPath(parent), job.share->shard.Folder() + "\n");
}

absl::StatusOr<std::string> CompleteShare(const ResolvedJob& job, absl::FunctionRef<absl::Status()> publish,
                                          bool* published) {
  *published = false;
  const ShardOfJob& share = *job.share;
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobLock> lock, LockParent(share.parent));
  ABSL_RETURN_IF_ERROR(ReplaceOwnFile(CompletePath(job.directory), share.plan->id + "\n"));
  const std::vector<int> missing = MissingShards(share.parent, share.shard.of);
  if (!missing.empty()) {
    return absl::StrCat("shard ", share.shard.Text(), " is complete; still to come: ", IndexList(missing));
  }
  ABSL_RETURN_IF_ERROR(publish());
  *published = true;
  ABSL_RETURN_IF_ERROR(ReplaceOwnFile(PublishedPath(share.parent), share.shard.Folder() + "\n"));
  const bool has_parts = std::any_of(job.targets.begin(), job.targets.end(),
                                     [](const Store& target) { return target.kind->whole_file != nullptr; });
  return absl::StrCat(
      "all ", share.shard.of, " shards are complete",
      has_parts ? absl::StrCat("; `reembed merge ", share.parent, "` makes one file of their parts") : "");
}

std::vector<int> MissingShards(const std::string& parent, int shards) {
  std::vector<int> missing;
  for (int i = 0; i < shards; ++i) {
    if (!IsShardComplete(absl::StrCat(parent, "/", Shard{i, shards}.Folder()))) missing.push_back(i);
  }
  return missing;
}

bool IsShardComplete(const std::string& folder) { return fs::exists(CompletePath(folder)); }

bool IsPublished(const std::string& parent) { return fs::exists(PublishedPath(parent)); }

absl::Status ForgetSharedSteps(const std::string& parent) {
  const absl::StatusOr<ShardPlan> plan = ReadShardPlan(parent);
  if (absl::IsNotFound(plan.status())) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(plan.status());
  for (int i = 0; i < plan->shards; ++i) {
    ABSL_RETURN_IF_ERROR(Remove(CompletePath(absl::StrCat(parent, "/", Shard{i, plan->shards}.Folder()))));
  }
  return BeginAnew(parent);
}

std::string PreparedBy(const std::string& parent) {
  std::ifstream file(PreparedPath(parent));
  std::string folder;
  std::getline(file, folder);
  return folder;
}

std::string IndexList(const std::vector<int>& indexes) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < indexes.size();) {
    size_t end = i + 1;
    while (end < indexes.size() && indexes[end] == indexes[end - 1] + 1) ++end;
    parts.push_back(end - i > 1 ? absl::StrCat(indexes[i], "-", indexes[end - 1]) : absl::StrCat(indexes[i]));
    i = end;
  }
  return absl::StrJoin(parts, ",");
}

}  // namespace reembed
