// SPDX-License-Identifier: Apache-2.0
// The KillPoint() of the command that the crash test kills.
//
//   KILL_POINT_AT=NAME:N or N   ends the process, as by SIGKILL, at the n-th pass of that kill point, or of any; from
//   1 KILL_POINT_LOG=PATH         adds the name of each pass to this file, a line each

#include "engine/kill_point.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

namespace reembed {
namespace {

// What the environment says, and the passes so far.
class Plan {
 public:
  Plan() {
    if (const char* const log = getenv("KILL_POINT_LOG"); log != nullptr) {
      log_ = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    const char* const at = getenv("KILL_POINT_AT");
    if (at == nullptr) return;
    const char* const colon = strrchr(at, ':');
    if (colon != nullptr) name_.assign(at, colon);
    left_ = strtol(colon == nullptr ? at : colon + 1, nullptr, 10);
  }

  void Pass(const char* name) {
    const std::lock_guard lock(mutex_);
    if (log_ >= 0) {
      const std::string line = std::string(name) + "\n";
      if (write(log_, line.data(), line.size()) < 0) abort();
    }
    if (left_ <= 0 || (!name_.empty() && name_ != name)) return;
    if (--left_ == 0) kill(getpid(), SIGKILL);
  }

 private:
  std::mutex mutex_;
  int log_ = -1;
  std::string name_;  // empty: any
  long left_ = 0;     // passes before the end; 0: none
};

}  // namespace

void KillPoint(const char* name) {
  static Plan* const plan = new Plan;  // threads may pass while the process ends
  plan->Pass(name);
}

}  // namespace reembed
