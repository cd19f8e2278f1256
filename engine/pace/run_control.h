// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_PACE_RUN_CONTROL_H_
#define REEMBED_ENGINE_PACE_RUN_CONTROL_H_

#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "engine/mutex.h"

namespace reembed {

// What somebody wants of a run while it goes on.
struct PaceWish {
  bool paused = false;
  // In place of what the run was started with; nullopt: as it was. Each endpoint has them, as with the flags of the
  // same names. A rate of 0: none is given, so what the provider says of its quota is all that limits.
  std::optional<double> requests_per_minute;
  std::optional<double> tokens_per_minute;
  std::optional<int> concurrency;  // requests in the air at most
};

// The one place where a run is steered: whoever listens to people (a socket, a page, a signal) writes here, and the
// flows of requests follow. What is in the air is finished whatever is wished. Thread-safe.
class RunControl {
 public:
  // `most_concurrent`: the run has room for no more requests at a time, see SetConcurrency().
  explicit RunControl(int most_concurrent) : most_concurrent_(most_concurrent) {}
  RunControl(const RunControl&) = delete;
  RunControl& operator=(const RunControl&) = delete;

  PaceWish wish() const;
  bool paused() const { return wish().paused; }
  int most_concurrent() const { return most_concurrent_; }

  // No request leaves, until Resume(). Both may be said twice.
  void Pause();
  void Resume();

  // What is not named stays. Errors: kInvalidArgument (below 0, not finite, or nothing is named).
  absl::Status SetRate(std::optional<double> requests_per_minute, std::optional<double> tokens_per_minute);

  // Errors: kInvalidArgument (below 1, or more than the run has room for).
  absl::Status SetConcurrency(int requests);

  // While it lives, a function is called behind every change, on the thread that made it.
  class Following {
   public:
    Following(RunControl* control, std::list<std::function<void(const PaceWish&)>>::iterator place)
        : control_(control), place_(place) {}
    Following(const Following&) = delete;
    Following& operator=(const Following&) = delete;
    ~Following();  // waits for a call that is under way

   private:
    RunControl* const control_;
    const std::list<std::function<void(const PaceWish&)>>::iterator place_;
  };

  // `changed` is also called at once, before this returns. Precondition: it neither blocks nor calls the control.
  std::unique_ptr<Following> Follow(std::function<void(const PaceWish&)> changed);

 private:
  void Change(const std::function<void(PaceWish*)>& change);

  const int most_concurrent_;
  mutable Mutex mutex_;
  PaceWish wish_ ABSL_GUARDED_BY(mutex_);
  std::list<std::function<void(const PaceWish&)>> followers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_PACE_RUN_CONTROL_H_
