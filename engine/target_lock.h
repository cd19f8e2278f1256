// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TARGET_LOCK_H_
#define REEMBED_ENGINE_TARGET_LOCK_H_

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace reembed {

// Gets a line for people while another's lock is waited for.
using LockNote = std::function<void(const std::string&)>;

// Who asks for a lock.
struct LockAsker {
  std::string job;  // the directory of the job, in one form; two jobs have two
  LockNote note;
  // Workers of the same `job`, and nobody else, may have the lock at the same time. Only kinds that say so.
  bool shared = false;
  std::string worker = {};  // which of them, where `shared`: no two that are alive have the same name
};

// The right of one job to fill one column of a store, held until this is destroyed, or until the process ends in
// whatever way. What it is made of is the store's own: a lock of the operating system, of the server, or a lease that
// is renewed. Used by one thread at a time.
class TargetLock {
 public:
  virtual ~TargetLock() = default;

  // Checks that the lock is held, before each write; cheap while it is. One that was lost, because a connection broke
  // or the process was stopped for a while, is taken again. Errors: kAborted (another job has it now; the message names
  // it); kUnavailable (the store does not answer).
  virtual absl::Status EnsureHeld() = 0;

  // Whether nobody else can have written since it was taken: it was held all the time, and the holder before had
  // released it, or is known to have ended. Otherwise the target has to be read back.
  virtual bool unbroken() const = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TARGET_LOCK_H_
