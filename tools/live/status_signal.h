// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_STATUS_SIGNAL_H_
#define REEMBED_TOOLS_LIVE_STATUS_SIGNAL_H_

#include <signal.h>

#include <functional>
#include <thread>

#include "engine/mutex.h"

namespace reembed {

// While it lives, the signal USR1 has a function called on a thread of its own; without it, USR1 ends a process. One at
// a time. Where no descriptor is to be had the signal keeps what it did before.
class StatusSignal {
 public:
  // `unless`: called while ShowBy() has named nothing else.
  explicit StatusSignal(std::function<void()> unless);
  StatusSignal(const StatusSignal&) = delete;
  StatusSignal& operator=(const StatusSignal&) = delete;
  ~StatusSignal();

  // From now on; null: as at the start. The function before is not called any more when this returns.
  void ShowBy(std::function<void()> show);

 private:
  static void PassOn(int signal);

  const std::function<void()> unless_;
  Mutex mutex_;
  std::function<void()> show_ ABSL_GUARDED_BY(mutex_);
  struct sigaction before_ = {};
  int pipe_[2] = {-1, -1};  // from the signal handler to thread_
  std::thread thread_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_STATUS_SIGNAL_H_
