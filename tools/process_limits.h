// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PROCESS_LIMITS_H_
#define REEMBED_TOOLS_PROCESS_LIMITS_H_

#include <cstdint>

#include "absl/status/status.h"

// What the system lets this process have: memory, address space, open files.
namespace reembed {

// OpenBLAS makes its threads before main(), and one that finds no address space for its buffer looks for it for ever,
// also at exit. Where the space is that small (ulimit -v), starts the program again with one thread; else returns. To
// be called first.
void RestartWithoutBlasThreads(char** argv);

// From now on the process ends with a message and exit code 1 where memory is short, or an exception that nobody
// expects leaves a thread: on whatever thread, in whatever library. What was kept stays kept, as after a kill.
void EndInWordsWhenOutOfMemory(bool json);

// Files that any command may have open at a time.
inline constexpr int64_t kFilesOfACommand = 48;

// Raises the limit of open files as far as this user may. Errors: kResourceExhausted (it stays below `needed`).
absl::Status AllowOpenFiles(int64_t needed);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PROCESS_LIMITS_H_
