// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_JOB_LOCK_H_
#define REEMBED_IO_JOB_JOB_LOCK_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "io/file/file.h"

namespace reembed {

// The right to write to a job directory, held until it is destroyed, or until the process ends in whatever way: it is
// the operating system's own lock on JOB/lock, so a dead owner never blocks. The file says who holds it and stays.
class JobLock {
 public:
  // Errors: kAborted (another run holds it: the message has its host, pid and age); kPermissionDenied, kInternal.
  static absl::StatusOr<std::unique_ptr<JobLock>> Acquire(const std::string& path);

  JobLock(const JobLock&) = delete;
  JobLock& operator=(const JobLock&) = delete;

 private:
  explicit JobLock(File file) : file_(std::move(file)) {}

  const File file_;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_JOB_LOCK_H_
