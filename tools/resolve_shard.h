// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RESOLVE_SHARD_H_
#define REEMBED_TOOLS_RESOLVE_SHARD_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/environment.h"
#include "tools/resolve.h"

namespace reembed {

// Makes of a whole job the share that `text` (--shard) names. `directory`: the folder of all shares, or that of this
// one. Targets that are files become parts in the folder of the share; limits of rate become a share of them unless
// workers share a quota; if there is a plan, the selection gets its range. Reads only. Errors: kInvalidArgument
// (several streams, flags that go with a whole job, a source or target that has no shares, another plan), of the plan.
absl::Status ResolveShard(const std::string& text, const std::string& directory, const Environment& environment,
                          std::vector<ResolvedJob>* jobs);

// For a job without --shard. Errors: kInvalidArgument (the folder is that of all shares: the whole job would be done
// there once more).
absl::Status CheckIsOfNoShards(const std::string& directory);

// The whole job that a share is of, in the folder of all shares.
ResolvedJob WholeOf(const ResolvedJob& job);

// Gives a share the range that its plan says. Errors: as CheckShardPlan().
absl::Status TakeRange(ShardPlan plan, ResolvedJob* job);

// The plan that fits a job, without its cuts.
ShardPlan PlanOf(const ResolvedJob& job, int shards);

// Where the shares of the job meet. Errors: as StoreKind::cut.
absl::Status CutSource(const ResolvedJob& job, ShardPlan* plan);

// Whether the job can be done in shares at all. Errors: kInvalidArgument (why not, and what to do).
absl::Status CheckCanBeSharded(const ResolvedJob& job);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RESOLVE_SHARD_H_
