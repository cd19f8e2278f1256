// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_MUTEX_H_
#define REEMBED_ENGINE_MUTEX_H_

#include <mutex>

#include "absl/base/thread_annotations.h"

namespace reembed {

// A std::mutex whose rules the compiler checks: what says ABSL_GUARDED_BY(mutex_) is touched with it held, and
// functions that say ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) are called with it held, or clang does not build
// (-Wthread-safety, the preset `clang`). Not absl::Mutex: the thread sanitizer does not see through it where Abseil was
// built without one. Waiting is std::condition_variable_any, with a MutexLock; a predicate is a lambda that requires
// the mutex.
class ABSL_LOCKABLE Mutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds a mutex while it lives, or until unlock().
class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) { mutex_->lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() {
    if (holds_) mutex_->unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    mutex_->lock();
    holds_ = true;
  }
  void unlock() ABSL_UNLOCK_FUNCTION() {
    holds_ = false;
    mutex_->unlock();
  }

 private:
  Mutex* const mutex_;
  bool holds_ = true;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_MUTEX_H_
