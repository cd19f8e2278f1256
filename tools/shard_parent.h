// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SHARD_PARENT_H_
#define REEMBED_TOOLS_SHARD_PARENT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/named_sink.h"
#include "io/job/job_lock.h"
#include "io/job/job_store.h"
#include "tools/resolve.h"

// What the shares of a job do once, and not each: the plan, and the first and the last step of the targets. Each is
// done under the lock of the parent folder, by whoever comes to it, and a file there says that it is done.
namespace reembed {

// PARENT/lock. Waits for another share that has it. Errors: kUnavailable (for too long); of the file.
absl::StatusOr<std::unique_ptr<JobLock>> LockParent(const std::string& parent);

// The range of a share, by the plan of the parent; makes the plan if there is none, and the parent. Errors: of the
// source; as TakeRange(), LockParent().
absl::Status TakeShare(ResolvedJob* job);

// Makes what the targets lack, unless another share has; a run after they were published begins anew. `store`: what it
// believes to be in a target that was made anew is forgotten. Errors: of the targets.
absl::Status PrepareShared(const ResolvedJob& job, absl::Span<const NamedSink> sinks, int64_t expected_rows,
                           JobStore* store);

// This share has come to its end: says so in its folder, and when it is the last one calls `publish`. Returns what
// people should know. Errors: of `publish`, and of the files.
absl::StatusOr<std::string> CompleteShare(const ResolvedJob& job, absl::FunctionRef<absl::Status()> publish,
                                          bool* published);

// The shares that have not come to their end, or are not there. `folder`: of the shares.
std::vector<int> MissingShards(const std::string& parent, int shards);
bool IsShardComplete(const std::string& folder);
bool IsPublished(const std::string& parent);

// Whoever has put the targets back: no share is complete any more, and they are prepared and published anew. A folder
// that has no shares is left alone. Errors: of the files.
absl::Status ForgetSharedSteps(const std::string& parent);

// The folder of the share that prepared the targets; empty: none has.
std::string PreparedBy(const std::string& parent);

// "3,5-7,31", as schedulers take it.
std::string IndexList(const std::vector<int>& indexes);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SHARD_PARENT_H_
