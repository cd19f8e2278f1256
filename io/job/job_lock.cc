// SPDX-License-Identifier: Apache-2.0
#include "io/job/job_lock.h"

#include <fcntl.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/lock_owner.h"

namespace reembed {

absl::StatusOr<std::unique_ptr<JobLock>> JobLock::Acquire(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0 && errno == ELOOP) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": is a symbolic link; remove it, and find out who put it there"));
  }
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  std::unique_ptr<JobLock> lock(new JobLock(File(fd, path)));
  ABSL_ASSIGN_OR_RETURN(const bool locked, TryLock(lock->file_));
  if (!locked) {
    const absl::StatusOr<std::string> text = ReadLockText(lock->file_);
    const absl::StatusOr<LockOwner> owner = ParseLockOwner(text.ok() ? *text : "");
    return absl::AbortedError(absl::StrCat(path, ": this job is in use by ",
                                           OwnerWords(owner.ok() ? *owner : LockOwner()),
                                           "; wait for it to end, or stop it"));
  }
  ABSL_RETURN_IF_ERROR(WriteLockOwner(lock->file_, ThisProcess()));
  return lock;
}

}  // namespace reembed
