// SPDX-License-Identifier: Apache-2.0
#include "engine/wait_looks.h"

#include <condition_variable>
#include <stop_token>
#include <utility>

#include "absl/time/time.h"
#include "engine/mutex.h"

namespace reembed {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(20);

}  // namespace

WaitLooks::WaitLooks(WaitMeter* waits, std::function<std::optional<WaitedFor>()> look)
    : thread_([waits, look = std::move(look)](const std::stop_token& done) {
        Mutex mutex;
        MutexLock lock(&mutex);
        std::condition_variable_any never;
        while (!never.wait_for(lock, done, absl::ToChronoNanoseconds(kLookInterval), [] { return false; })) {
          if (done.stop_requested()) return;
          waits->Note(look());
        }
      }) {}

}  // namespace reembed
