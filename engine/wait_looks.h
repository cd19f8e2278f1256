// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_WAIT_LOOKS_H_
#define REEMBED_ENGINE_WAIT_LOOKS_H_

#include <functional>
#include <optional>
#include <thread>

#include "engine/wait_meter.h"

namespace reembed {

// Looks at even times, from a thread of its own and until it is destroyed, at what a run waits for, and notes it.
class WaitLooks {
 public:
  // `look` is called by that thread. The meter is borrowed.
  WaitLooks(WaitMeter* waits, std::function<std::optional<WaitedFor>()> look);

 private:
  std::jthread thread_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_WAIT_LOOKS_H_
