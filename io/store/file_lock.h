// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FILE_LOCK_H_
#define REEMBED_IO_STORE_FILE_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/target_lock.h"

namespace reembed {

// The lock of one column of a database that is a file: the operating system's lock on a file of our own beside it, as
// one on the database itself would be in the way of whoever uses it. The file goes with the lock; that of a process
// that was killed is taken over. `column`: any text that names it; equal texts are the same column. `place`: for
// messages. Errors: as PlaceLock::Acquire().
absl::StatusOr<std::unique_ptr<TargetLock>> LockFileColumn(const std::string& path, absl::string_view column,
                                                           const std::string& place, const LockAsker& asker);

// The lock of the whole file, for whoever replaces it: nobody has a lock of one of its columns, and LockFileColumn()
// gives none meanwhile. Errors: as there.
absl::StatusOr<std::unique_ptr<TargetLock>> LockWholeFile(const std::string& path, const LockAsker& asker);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FILE_LOCK_H_
