// SPDX-License-Identifier: Apache-2.0
#include "tools/shards_resolved.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/job_reader.h"
#include "tools/shard_parent.h"

namespace reembed {

absl::StatusOr<Shards> FindShards(const std::string& parent) {
  Shards shards;
  ABSL_ASSIGN_OR_RETURN(shards.plan, ReadShardPlan(parent));
  for (int i = 0; i < shards.plan.shards; ++i) {
    shards.folders.push_back(absl::StrCat(parent, "/", Shard{i, shards.plan.shards}.Folder()));
  }
  shards.missing = MissingShards(parent, shards.plan.shards);
  return shards;
}

absl::Status CheckAllComplete(const std::string& parent, const Shards& shards) {
  if (!shards.missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        parent, ": expected ", shards.plan.shards, " complete shards, and these are not: ", IndexList(shards.missing),
        "; run them with --shard first"));
  }
  for (const std::string& folder : shards.folders) {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> job, JobReader::Open(folder));
    if (absl::EndsWith(job->identity().selection, absl::StrCat(" of plan ", shards.plan.id))) continue;
    return absl::DataLossError(absl::StrCat(folder, ": expected a share of plan ", shards.plan.id, ", got one of ",
                                            job->identity().selection,
                                            "; where folders were gathered, all must be of one plan"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ResolvedJob> ResolveShare(const std::string& folder, const Environment& environment) {
  CommandOptions asked;
  asked.job_file = folder + "/job.toml";
  asked.job = folder;
  ABSL_RETURN_IF_ERROR(ReadJobFile(&asked));
  return Resolve(asked, environment, KeyNeed::kNone);
}

}  // namespace reembed
