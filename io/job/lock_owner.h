// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_LOCK_OWNER_H_
#define REEMBED_IO_JOB_LOCK_OWNER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/file.h"

// What all locks on files have in common: the operating system's own lock (`flock`), which ends with the process that
// has it, and a text in the locked file that says who that is.
namespace reembed {

// The text has a line for each.
struct LockOwner {
  std::string host;
  std::string pid;
  int64_t started = 0;  // seconds since 1970
  std::string job;      // whose process it is; empty: the file is the job's own
  std::string left_by;  // the job that left something unfinished at the place; empty: none did
};

// `job`: whose process it is; empty: the file is the job's own.
LockOwner ThisProcess(const std::string& job = "");

// Errors: kDataLoss (it is the text of no lock). An empty text is that of a lock which nobody has had yet.
absl::StatusOr<LockOwner> ParseLockOwner(absl::string_view text);

// The same of a lock that lies among other people's files: its text begins with a mark. What a full disk or a power cut
// has left of such a text is one that names nobody; a text that is none at all is kDataLoss.
absl::StatusOr<LockOwner> ParsePlaceOwner(absl::string_view text);

// "process 12 on host here, started 5s ago"; "another process" if the text does not say who.
std::string OwnerWords(const LockOwner& owner);

// Whether the owner was a process of this machine that is no more. false: it is there, or nobody here can know.
bool IsGone(const LockOwner& owner);

// kAborted: somebody else has `place`, with what is known of who it is, and what to do.
absl::Status BeingWrittenError(absl::string_view place, const LockOwner& owner);

// Whether this process has the lock on `file` now; false: another has it. Errors: those of the system.
absl::StatusOr<bool> TryLock(const File& file);

// The text that says who the owner is, with the mark if it says whose process it is. ParsePlaceOwner() reads it again.
std::string LockOwnerText(const LockOwner& owner);

// What an owner wrote, who may be in the middle of it. Errors: kDataLoss (too long for such a text), of the system.
absl::StatusOr<std::string> ReadLockText(const File& file);
absl::Status WriteLockOwner(const File& file, const LockOwner& owner);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_LOCK_OWNER_H_
