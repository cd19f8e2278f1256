// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PROCESS_LIMITS_H_
#define REEMBED_TOOLS_PROCESS_LIMITS_H_

#include <cstdint>

#include "absl/status/status.h"

// What the system lets this process have: memory, address space, open files.
namespace reembed {

// Libraries look at the environment before main(), so some of it can only be set for the same program started again,
// which this does; else it returns. To be called first.
// - OpenBLAS makes its threads then, and one that finds no address space for its buffer looks for it for ever, also at
//   exit. Where the space is that small (ulimit -v): one thread.
// - Threads of OpenMP wait for each other by spinning, which takes the processor from whoever they wait for where
//   others are at work, or a container has less than the machine. Of `index`, and of commands that write where words, a
//   variable or a file (see SaidTexts) name an index as a target: they sleep, unless the user has said how they wait
//   (OMP_WAIT_POLICY, GOMP_SPINCOUNT).
void RestartForLibraries(char** argv);

// From now on the process ends with a message and exit code 1 where memory is short, or an exception that nobody
// expects leaves a thread: on whatever thread, in whatever library. What was kept stays kept, as after a kill.
void EndInWordsWhenOutOfMemory(bool json);

// Files that any command may have open at a time.
inline constexpr int64_t kFilesOfACommand = 48;

// Raises the limit of open files as far as this user may. Errors: kResourceExhausted (it stays below `needed`).
absl::Status AllowOpenFiles(int64_t needed);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PROCESS_LIMITS_H_
