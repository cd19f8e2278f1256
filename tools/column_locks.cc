// SPDX-License-Identifier: Apache-2.0
#include "tools/column_locks.h"

#include <optional>

#include "engine/status_macros.h"
#include "io/job/lock_owner.h"
#include "tools/place.h"
#include "tools/registry.h"

namespace reembed {

absl::StatusOr<TargetLock*> ColumnLocks::Lock(const Location& target, const std::string& directory) {
  const Scheme* const scheme = FindScheme(target.scheme);
  const std::optional<VectorPlace> place = PlaceOf(target);
  if (scheme == nullptr || scheme->lock == nullptr || !place.has_value()) return nullptr;
  for (const Held& held : held_) {
    if (held.place == *place) return held.lock.get();
  }
  LockOwner self = ThisProcess();
  self.job = AbsolutePath(directory);
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<TargetLock> lock, scheme->lock(target, self, note_));
  held_.push_back({*place, std::move(lock)});
  return held_.back().lock.get();
}

}  // namespace reembed
