// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHARDS_RESOLVED_H_
#define REEMBED_TOOLS_SHARDS_RESOLVED_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/environment.h"
#include "tools/resolve.h"

// All shares of a job, for commands that are about the whole.
namespace reembed {

struct Shards {
  ShardPlan plan;
  std::vector<std::string> folders;  // by number; some may not be there
  std::vector<int> missing;          // that have not come to their end
};

// Errors: as ReadShardPlan().
absl::StatusOr<Shards> FindShards(const std::string& parent);

// Errors: kFailedPrecondition (names those that are missing), kDataLoss (the folder of another plan's share is among
// them).
absl::Status CheckAllComplete(const std::string& parent, const Shards& shards);

// A share as its own job file describes it. Errors: as Resolve().
absl::StatusOr<ResolvedJob> ResolveShare(const std::string& folder, const Environment& environment);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHARDS_RESOLVED_H_
