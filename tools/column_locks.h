// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_COLUMN_LOCKS_H_
#define REEMBED_TOOLS_COLUMN_LOCKS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/target_lock.h"
#include "engine/vector_place.h"
#include "tools/earlier_jobs.h"
#include "tools/registry.h"

namespace reembed {

// One job at a time on a column: the locks of all columns that a command fills, held until this is destroyed. Streams
// of one command that fill the same column share its lock.
class ColumnLocks {
 public:
  explicit ColumnLocks(LockNote note) : note_(std::move(note)) {}

  // For the job at `directory`. Null: there can be no lock at this place, as it is a file that is locked as a whole, a
  // stream, or a store that has none. Lives as long as this. Errors: as StoreKind::lock.
  absl::StatusOr<TargetLock*> Lock(const Store& target, const std::string& directory);

  // For `worker`, one of several of `job`, which fill the column together and have its lock at the same time. Null
  // also: the store knows no such lock.
  absl::StatusOr<TargetLock*> LockShared(const Store& target, const std::string& job, const std::string& worker);

 private:
  absl::StatusOr<TargetLock*> Take(const Store& target, const LockAsker& asker);

  struct Held {
    VectorPlace place;
    std::unique_ptr<TargetLock> lock;
  };

  const LockNote note_;
  std::vector<Held> held_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_COLUMN_LOCKS_H_
