// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_OWN_MEMORY_H_
#define REEMBED_TESTS_FAKES_OWN_MEMORY_H_

#include <malloc.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>

namespace reembed {

// Whether memory is that of the code alone. A sanitizer keeps what is freed, and wants more addresses than any limit.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kMemoryIsOurs = false;
#else
inline constexpr bool kMemoryIsOurs = true;
#endif

// A line of /proc/self/status, in KiB; -1: there is none.
inline int64_t OwnMemoryKib(const std::string& line) {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name; status.ignore(1 << 16, '\n')) {
    if (int64_t kib = -1; name == line + ":" && status >> kib) return kib;
  }
  return -1;
}

// What this process takes while `body` runs beyond what it had before, at its most, in KiB.
inline int64_t PeakKib(const std::function<void()>& body) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins here
  const int64_t before = OwnMemoryKib("VmRSS");
  body();
  return OwnMemoryKib("VmHWM") - before;
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_OWN_MEMORY_H_
