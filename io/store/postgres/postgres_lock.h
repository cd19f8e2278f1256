// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_LOCK_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_LOCK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/target_lock.h"

namespace reembed {

// The lock of the column that a target names: an advisory lock in a transaction that stays open on a connection of its
// own. It touches no table, so it holds up neither VACUUM nor anybody else, passes a pooler that hands out
// transactions, and ends with the process. Errors: kAborted (another job has it; the message says who);
// kFailedPrecondition (a pooler with one server connection only, which this one would take); as PostgresConnection,
// ParsePostgresLocation().
absl::StatusOr<std::unique_ptr<TargetLock>> LockPostgresColumn(const Location& target, const LockAsker& asker);

// The lock of all columns of the database that a place of a backup names, likewise: nobody has the lock of one, and
// LockPostgresColumn() gives none meanwhile. Errors: as there.
absl::StatusOr<std::unique_ptr<TargetLock>> LockPostgresPlace(const Location& place, const LockAsker& asker);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_LOCK_H_
