#include "io/job/job_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace reembed {
namespace {

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? std::string(name) : std::string("unknown");
}

// What the owner wrote: host, pid and start time (seconds since 1970), one a line. It may be in the middle of writing.
std::string OwnerText(int fd) {
  char buffer[512];
  const ssize_t bytes = pread(fd, buffer, sizeof(buffer), 0);
  const std::vector<std::string> lines = absl::StrSplit(absl::string_view(buffer, bytes < 0 ? 0 : bytes), '\n');
  int64_t started = 0;
  if (lines.size() < 3 || !absl::SimpleAtoi(lines[2], &started)) return "another process";
  // Whole seconds, and never negative after the clock was set back.
  const int64_t age = std::max<int64_t>(0, absl::ToUnixSeconds(absl::Now()) - started);
  return absl::StrCat("process ", lines[1], " on host ", lines[0], ", started ",
                      absl::FormatDuration(absl::Seconds(age)), " ago");
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobLock>> JobLock::Acquire(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0 && errno == ELOOP) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": is a symbolic link; remove it, and find out who put it there"));
  }
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  std::unique_ptr<JobLock> lock(new JobLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot lock"));
    return absl::AbortedError(
        absl::StrCat(path, ": this job is in use by ", OwnerText(fd), "; wait for it to end, or stop it"));
  }
  const std::string owner = absl::StrCat(HostName(), "\n", getpid(), "\n", absl::ToUnixSeconds(absl::Now()), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size())) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot write"));
  }
  return lock;
}

JobLock::~JobLock() { close(fd_); }

}  // namespace reembed
