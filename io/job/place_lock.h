// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_PLACE_LOCK_H_
#define REEMBED_IO_JOB_PLACE_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/file/file.h"
#include "io/job/lock_owner.h"

namespace reembed {

// The right to write the file PATH and what grows beside it until it is complete, held until this is destroyed, or
// until the process ends in whatever way: the operating system's own lock on PATH.partial.lock. That file says who
// holds it, and which job has left something unfinished there, and is removed when nothing is left. Used by one thread.
class PlaceLock {
 public:
  // `job`: the directory of the one that wants to write. Errors: kAborted (another process has it: the message has its
  // job, host, pid and age); kInvalidArgument (what has the lock's name is no lock; it is not touched);
  // kPermissionDenied, kNotFound, kResourceExhausted, kInternal.
  static absl::StatusOr<std::unique_ptr<PlaceLock>> Acquire(const std::string& path, const std::string& job);

  // Likewise with another name for the lock: `path`. `place`: for messages.
  static absl::StatusOr<std::unique_ptr<PlaceLock>> AcquireAt(const std::string& path, const std::string& place,
                                                              const std::string& job);

  // Likewise, for one of several processes of `job`, which may all have it at the same time. They take it one after the
  // other, and wait for one that is at it: a second at most, 0.2 s where a process of another job has it. Errors: also
  // kAborted, then.
  static absl::StatusOr<std::unique_ptr<PlaceLock>> AcquireSharedAt(const std::string& path, const std::string& place,
                                                                    const std::string& job);

  // What the lock of a place says, whoever has it; nothing, if there is none that can be read.
  static LockOwner OwnerOf(const std::string& path);

  PlaceLock(const PlaceLock&) = delete;
  PlaceLock& operator=(const PlaceLock&) = delete;
  ~PlaceLock();

  // From now on, also after a kill, what is unfinished there is this job's.
  absl::Status Claim();

  // Nothing is unfinished there any more.
  void GiveUp() { owner_.left_by.clear(); }

 private:
  explicit PlaceLock(File file) : file_(std::move(file)) {}
  absl::StatusOr<bool> IsStillTheFile() const;

  const File file_;  // the lock
  LockOwner owner_;
  bool shared_ = false;
};

std::string PlaceLockPath(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_PLACE_LOCK_H_
