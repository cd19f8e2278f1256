// Loaded before all other libraries (LD_PRELOAD), it makes calls that nobody can interrupt take as long as a test
// wants: while the folder $REEMBED_HELD has a file of the call's name, the call waits, and says so in NAME.reached.
//
//   sync    fsync() and fdatasync(), as of a disk that hangs
//   write   pwrite() and pwritev() to files with `slow` in their name
//   build   the parallel loops of OpenMP, as of FAISS

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

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

bool IsSlow(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  if (length <= 0) return false;
  path[length] = '\0';
  return strstr(path, "slow") != nullptr;
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int fsync(int fd) {
  WaitWhileHeld("sync");
  static auto* const next = Next<int(int)>("fsync");
  return next(fd);
}

int fdatasync(int fd) {
  WaitWhileHeld("sync");
  static auto* const next = Next<int(int)>("fdatasync");
  return next(fd);
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  if (IsSlow(fd)) WaitWhileHeld("write");
  static auto* const next = Next<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return next(fd, bytes, count, offset);
}

ssize_t pwritev(int fd, const iovec* vectors, int count, off_t offset) {
  if (IsSlow(fd)) WaitWhileHeld("write");
  static auto* const next = Next<ssize_t(int, const iovec*, int, off_t)>("pwritev");
  return next(fd, vectors, count, offset);
}

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) {
  WaitWhileHeld("build");
  static auto* const next = Next<void(void (*)(void*), void*, unsigned, unsigned)>("GOMP_parallel");
  next(body, data, threads, flags);
}

}  // extern "C"
