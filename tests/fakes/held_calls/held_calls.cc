// SPDX-License-Identifier: Apache-2.0
// Loaded before all other libraries (LD_PRELOAD), it makes calls that nobody can interrupt take as long as a test
// wants: while the folder $REEMBED_HELD has a file of the call's name, the call waits, and says so in NAME.reached.
//
//   sync    fsync() and fdatasync(), as of a disk that hangs
//   write   pwrite() and pwritev() to files with `slow` in their name
//   build   the parallel loops of OpenMP, as of FAISS
//
// $REEMBED_SLOW_SYNC: so many milliseconds does each fsync() and fdatasync() take more, as on a slow disk. Where and
// when is added to $REEMBED_DELAY_LOG, a line each: the path, and begin and end in milliseconds of the monotonic clock.
// $REEMBED_SLOW_WRITE: likewise each pwrite() and pwritev() to files with `slow` in their name. $REEMBED_SLOW_READ:
// each pread() of them, which brings at most 4,096 bytes. $REEMBED_CLOCK_SHIFT: a file that says by how many seconds
// the clock of the day is wrong; read each time.

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// Not more than a call or two of the system: it runs within others' locks.
void WaitWhileHeld(const char* name) {
  const char* const folder = getenv("REEMBED_HELD");
  if (folder == nullptr) return;
  char path[4096], reached[4096];
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  if (access(path, F_OK) != 0) return;
  snprintf(reached, sizeof(reached), "%s.reached", path);
  close(open(reached, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  while (access(path, F_OK) == 0) poll(nullptr, 0, 5);
}

// Null: there is no path.
const char* PathOf(int fd, char (&path)[4096]) {
  char link[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  path[length < 0 ? 0 : length] = '\0';
  return length < 0 ? nullptr : path;
}

long Milliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// As long as $`variable` says.
void WaitForSlowDisk(int fd, const char* variable) {
  const char* const more = getenv(variable);
  if (more == nullptr) return;
  const long begin = Milliseconds();
  poll(nullptr, 0, atoi(more));
  const char* const log = getenv("REEMBED_DELAY_LOG");
  char path[4096], line[4200];
  if (log == nullptr || PathOf(fd, path) == nullptr) return;
  const int to = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int length = snprintf(line, sizeof(line), "%s %ld %ld\n", path, begin, Milliseconds());
  if (write(to, line, static_cast<size_t>(length)) != length) abort();
  close(to);
}

// Seconds.
long ClockShift() {
  const char* const path = getenv("REEMBED_CLOCK_SHIFT");
  if (path == nullptr) return 0;
  char text[32];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t length = read(fd, text, sizeof(text) - 1);
  close(fd);
  text[length < 0 ? 0 : length] = '\0';
  return atol(text);
}

bool IsSlow(int fd) {
  char path[4096];
  return PathOf(fd, path) != nullptr && strstr(path, "slow") != nullptr;
}

}  // namespace

extern "C" {

int fsync(int fd) {
  WaitWhileHeld("sync");
  WaitForSlowDisk(fd, "REEMBED_SLOW_SYNC");
  static auto* const next = Next<int(int)>("fsync");
  return next(fd);
}

int fdatasync(int fd) {
  WaitWhileHeld("sync");
  WaitForSlowDisk(fd, "REEMBED_SLOW_SYNC");
  static auto* const next = Next<int(int)>("fdatasync");
  return next(fd);
}

ssize_t pread(int fd, void* bytes, size_t count, off_t offset) {
  static auto* const next = Next<ssize_t(int, void*, size_t, off_t)>("pread");
  if (getenv("REEMBED_SLOW_READ") == nullptr || !IsSlow(fd)) return next(fd, bytes, count, offset);
  WaitForSlowDisk(fd, "REEMBED_SLOW_READ");
  return next(fd, bytes, count < 4096 ? count : 4096, offset);
}

int clock_gettime(clockid_t clock, timespec* now) {
  static auto* const next = Next<int(clockid_t, timespec*)>("clock_gettime");
  const int result = next(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += ClockShift();
  return result;
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  if (IsSlow(fd)) {
    WaitWhileHeld("write");
    WaitForSlowDisk(fd, "REEMBED_SLOW_WRITE");
  }
  static auto* const next = Next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return next(fd, bytes, count, offset);
}

ssize_t pwritev(int fd, const iovec* vectors, int count, off_t offset) {
  if (IsSlow(fd)) {
    WaitWhileHeld("write");
    WaitForSlowDisk(fd, "REEMBED_SLOW_WRITE");
  }
  static auto* const next = Next<ssize_t(int, const iovec*, int, off_t)>("pwritev");
  return next(fd, vectors, count, offset);
}

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) {
  WaitWhileHeld("build");
  static auto* const next = Next<void(void (*)(void*), void*, unsigned, unsigned)>("GOMP_parallel");
  next(body, data, threads, flags);
}

}  // extern "C"
