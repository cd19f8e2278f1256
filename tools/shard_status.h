// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHARD_STATUS_H_
#define REEMBED_TOOLS_SHARD_STATUS_H_

#include <string>

#include "absl/status/status.h"

namespace reembed {

// Whether the folder is that of a job's shares, if only submitted to a scheduler.
bool HasShards(const std::string& parent);

// What the shares of a job have done, and which are to be run again, on standard output. Errors: of the plan and of the
// ledgers.
absl::Status ShowShards(const std::string& parent, bool json);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHARD_STATUS_H_
