#include "io/job/lock_owner.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace reembed {
namespace {

constexpr size_t kMaxTextBytes = 16384;  // two paths, escaped, and little more

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? std::string(name) : std::string("unknown");
}

}  // namespace

LockOwner ThisProcess() {
  return {.host = HostName(), .pid = absl::StrCat(getpid()), .started = absl::ToUnixSeconds(absl::Now())};
}

absl::StatusOr<LockOwner> ParseLockOwner(absl::string_view text) {
  LockOwner owner;
  if (text.empty()) return owner;
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  int64_t pid = 0;
  const bool sound = lines.size() >= 4 && absl::SimpleAtoi(lines[1], &pid) &&
                     absl::SimpleAtoi(lines[2], &owner.started) && lines.back().empty() &&
                     (lines.size() < 5 || absl::CUnescape(lines[3], &owner.job)) &&
                     (lines.size() < 6 || absl::CUnescape(lines[4], &owner.left_by));
  if (!sound) return absl::DataLossError("expected host, pid and start time of a lock's owner, got something else");
  owner.host = lines[0];
  owner.pid = lines[1];
  return owner;
}

std::string OwnerWords(const LockOwner& owner) {
  if (owner.pid.empty()) return "another process";
  // Whole seconds, and never negative after the clock was set back.
  const int64_t age = std::max<int64_t>(0, absl::ToUnixSeconds(absl::Now()) - owner.started);
  return absl::StrCat("process ", owner.pid, " on host ", absl::CHexEscape(owner.host), ", started ",
                      absl::FormatDuration(absl::Seconds(age)), " ago");
}

absl::StatusOr<bool> TryLock(int fd, const std::string& path) {
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot lock"));
}

absl::StatusOr<std::string> ReadLockText(int fd, const std::string& path) {
  std::string text(kMaxTextBytes, '\0');
  const ssize_t bytes = pread(fd, text.data(), text.size(), 0);
  if (bytes < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot read"));
  if (static_cast<size_t>(bytes) == text.size()) return absl::DataLossError(absl::StrCat(path, ": is no lock"));
  text.resize(static_cast<size_t>(bytes));
  return text;
}

absl::Status WriteLockOwner(int fd, const std::string& path, const LockOwner& owner) {
  std::string text = absl::StrCat(owner.host, "\n", owner.pid, "\n", owner.started, "\n");
  if (!owner.job.empty()) {
    absl::StrAppend(&text, absl::CEscape(owner.job), "\n", absl::CEscape(owner.left_by), "\n");
  }
  // In this order: who reads meanwhile finds a text whose first lines are whole.
  if (pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
      ftruncate(fd, static_cast<off_t>(text.size())) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot write"));
}

}  // namespace reembed
