// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHARD_CHECKS_H_
#define REEMBED_TOOLS_SHARD_CHECKS_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "tools/environment.h"

namespace reembed {

// What `verify` finds in the whole where `parent` has the shares of a job, besides what it finds in each: shares that
// are missing, of another plan, or not published, and files that are not what their parts are. Where it has none,
// nothing. Each problem is told to `problem`. Errors: of the files.
absl::Status CheckShards(const std::string& parent, const Environment& environment,
                         absl::FunctionRef<void(std::string)> problem, std::vector<std::string>* notes);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHARD_CHECKS_H_
