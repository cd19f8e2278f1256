// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_SQLITE_LOCK_H_
#define REEMBED_IO_STORE_SQLITE_SQLITE_LOCK_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/target_lock.h"

namespace reembed {

// The lock of the column that a target names. Of a file: LockFileColumn(), beside it. Errors: as there, as
// ParseSqliteTarget().
absl::StatusOr<std::unique_ptr<TargetLock>> LockSqliteColumn(const Location& target, const LockAsker& asker);

// Of a server: a lease, which is a row of the table `reembed_lock` while somebody has it. Null: the token may not make
// that table. Errors: as TakeLease(), HranaConnection, ParseSqliteTarget().
absl::StatusOr<std::unique_ptr<TargetLock>> LockLibsqlColumn(const Location& target, const LockAsker& asker);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_SQLITE_LOCK_H_
