// SPDX-License-Identifier: Apache-2.0
#include "io/job/place_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Each new attempt means that somebody gave the lock back in between.
constexpr int kMaxAttempts = 1000;

// How long a sibling is waited for that has the lock alone: it takes and gives it back in a few system calls, and for
// some of them its name is not there yet, or still a dead owner's.
constexpr absl::Duration kSiblingWait = absl::Seconds(1), kNamedWait = absl::Milliseconds(200);
constexpr absl::Duration kPause = absl::Milliseconds(2);

absl::Status NoLockError(const std::string& path) {
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": expected the lock of a target, or nothing, got something else; move it away or choose another target"));
}

// Made if it is not there.
absl::StatusOr<File> OpenLockFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
  if (fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO)) return NoLockError(path);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  return File(fd, path);
}

// Errors: of a file that is no lock's.
absl::StatusOr<LockOwner> OwnerIn(const File& file) {
  const absl::StatusOr<std::string> text = ReadLockText(file);
  return ParsePlaceOwner(text.ok() ? *text : "no lock's text");
}

}  // namespace

std::string PlaceLockPath(const std::string& path) { return absl::StrCat(path, ".partial.lock"); }

absl::StatusOr<std::unique_ptr<PlaceLock>> PlaceLock::Acquire(const std::string& place, const std::string& job) {
  return AcquireAt(PlaceLockPath(place), place, job);
}

absl::StatusOr<std::unique_ptr<PlaceLock>> PlaceLock::AcquireAt(const std::string& path, const std::string& place,
                                                                const std::string& job) {
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    ABSL_ASSIGN_OR_RETURN(File file, OpenLockFile(path));
    std::unique_ptr<PlaceLock> lock(new PlaceLock(std::move(file)));
    ABSL_ASSIGN_OR_RETURN(const bool locked, TryLock(lock->file_));
    const absl::StatusOr<LockOwner> owner = OwnerIn(lock->file_);
    if (!locked) return BeingWrittenError(place, owner.ok() ? *owner : LockOwner());
    // Whoever had it may have removed the file before this process had locked it.
    ABSL_ASSIGN_OR_RETURN(const bool still, lock->IsStillTheFile());
    if (!still) continue;
    if (!owner.ok()) return NoLockError(path);
    LockOwner self = ThisProcess();
    self.job = job;
    self.left_by = owner->left_by;
    ABSL_RETURN_IF_ERROR(WriteLockOwner(lock->file_, self));
    lock->owner_ = std::move(self);
    return lock;
  }
  return absl::AbortedError(absl::StrCat(place, ": other processes take turns to write it; run again"));
}

absl::StatusOr<std::unique_ptr<PlaceLock>> PlaceLock::AcquireSharedAt(const std::string& path, const std::string& place,
                                                                      const std::string& job) {
  absl::Duration waited;
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    ABSL_ASSIGN_OR_RETURN(File file, OpenLockFile(path));
    std::unique_ptr<PlaceLock> lock(new PlaceLock(std::move(file)));
    lock->shared_ = true;
    ABSL_ASSIGN_OR_RETURN(const bool alone, TryLock(lock->file_));
    const bool locked = alone || flock(lock->file_.fd(), LOCK_SH | LOCK_NB) == 0;
    absl::StatusOr<LockOwner> owner = OwnerIn(lock->file_);
    if (!locked) {
      const bool may_be_sibling = owner.ok() && (owner->job.empty() || owner->job == job);
      if (waited >= (may_be_sibling ? kSiblingWait : kNamedWait)) {
        return BeingWrittenError(place, owner.ok() ? *owner : LockOwner());
      }
      absl::SleepFor(kPause);
      waited += kPause;
      continue;
    }
    ABSL_ASSIGN_OR_RETURN(const bool still, lock->IsStillTheFile());
    if (!still) continue;
    if (!owner.ok()) return NoLockError(path);
    if (alone) {
      LockOwner self = ThisProcess();
      self.job = job;
      self.left_by = owner->left_by;
      ABSL_RETURN_IF_ERROR(WriteLockOwner(lock->file_, self));
      // Not in one step: another job may have come in between, and has written its name.
      if (flock(lock->file_.fd(), LOCK_SH | LOCK_NB) != 0) continue;
      owner = OwnerIn(lock->file_);
      if (!owner.ok() || owner->job != job) continue;
    } else if (owner->job != job) {
      return BeingWrittenError(place, *owner);
    }
    lock->owner_ = *std::move(owner);
    return lock;
  }
  return absl::AbortedError(absl::StrCat(place, ": other processes take turns to write it; run again"));
}

LockOwner PlaceLock::OwnerOf(const std::string& path) {
  const std::string lock = PlaceLockPath(path);
  const File file(open(lock.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), lock);
  if (file.fd() < 0) return LockOwner();
  const absl::StatusOr<LockOwner> owner = OwnerIn(file);
  return owner.ok() ? *owner : LockOwner();
}

// A regular file that has this name and no other.
absl::StatusOr<bool> PlaceLock::IsStillTheFile() const {
  struct stat ours;
  struct stat named;
  if (fstat(file_.fd(), &ours) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat(file_.path(), ": cannot look at it"));
  if (lstat(file_.path().c_str(), &named) != 0 || ours.st_dev != named.st_dev || ours.st_ino != named.st_ino)
    return false;
  if (!S_ISREG(ours.st_mode) || ours.st_nlink != 1) return NoLockError(file_.path());
  return true;
}

absl::Status PlaceLock::Claim() {
  LockOwner claimed = owner_;
  claimed.left_by = owner_.job;
  ABSL_RETURN_IF_ERROR(WriteLockOwner(file_, claimed));
  // Before anything grows there: after a power cut it must not look like another job's.
  ABSL_RETURN_IF_ERROR(file_.Sync());
  owner_ = std::move(claimed);
  return absl::OkStatus();
}

PlaceLock::~PlaceLock() {
  // While it is locked: nobody else can hold a file that has lost its name.
  const bool is_taken = !owner_.job.empty() && (!shared_ || flock(file_.fd(), LOCK_EX | LOCK_NB) == 0);
  if (const absl::StatusOr<bool> still = IsStillTheFile(); is_taken && still.ok() && *still) {
    if (owner_.left_by.empty()) unlink(file_.path().c_str());
  }
}

}  // namespace reembed
