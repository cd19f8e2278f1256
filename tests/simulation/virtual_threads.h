// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_VIRTUAL_THREADS_H_
#define REEMBED_TESTS_SIMULATION_VIRTUAL_THREADS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"
#include "engine/pace/rate_limiter.h"

// Threads and clocks of a simulated process. While a simulation runs, this program's own pthread_create(),
// pthread_mutex_lock(), pthread_cond_wait(), nanosleep(), clock_gettime() and so on stand before those of the C
// library: std::thread, std::mutex, std::condition_variable and both clocks of the code under test come here,
// unchanged. A thread is a stack of its own on the one real thread; which one goes on is drawn from the seed whenever
// one waits or takes a lock, and when all wait the clock goes forward to the first that waits for a time. So a run
// depends on its seed alone, takes no time but for its work, and a run in which nobody can go on is seen.
namespace reembed {

// Runs `body` and returns when it and all threads that it has begun have ended. `stuck` is called when none of them can
// ever go on; it must not return. Not nested.
void RunVirtually(uint64_t seed, const std::function<void()>& body, const std::function<void()>& stuck);

// Within a simulation: the virtual time, 0 at its start, which nothing but waiting moves.
Moment VirtualNow();
// All clocks jump, as after a stop of the process: what was to happen meanwhile happens late.
void JumpClock(absl::Duration by);
// Only the wall clock does.
void JumpWallClock(absl::Duration by);
// The clock as it was: when a killed process has been wound up, which is not to take time.
void SetClock(Moment now);

}  // namespace reembed

#endif  // REEMBED_TESTS_SIMULATION_VIRTUAL_THREADS_H_
