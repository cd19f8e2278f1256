// SPDX-License-Identifier: Apache-2.0
#include "tools/column_locks.h"

#include <optional>
#include <utility>

#include "engine/status_macros.h"
#include "tools/place.h"

namespace reembed {

absl::StatusOr<TargetLock*> ColumnLocks::Lock(const Store& target, const std::string& directory) {
  return Take(target, {.job = AbsolutePath(directory), .note = note_});
}

absl::StatusOr<TargetLock*> ColumnLocks::LockShared(const Store& target, const std::string& job,
                                                    const std::string& worker) {
  if (!target.kind->shares_lock) return nullptr;
  return Take(target, {.job = job, .note = note_, .shared = true, .worker = worker});
}

absl::StatusOr<TargetLock*> ColumnLocks::Take(const Store& target, const LockAsker& asker) {
  const std::optional<VectorPlace> place = PlaceOf(target.location);
  if (target.kind->lock == nullptr || !place.has_value()) return nullptr;
  for (const Held& held : held_) {
    if (held.place == *place) return held.lock.get();
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<TargetLock> lock, target.kind->lock(target.location, asker));
  held_.push_back({*place, std::move(lock)});
  return held_.back().lock.get();
}

}  // namespace reembed
