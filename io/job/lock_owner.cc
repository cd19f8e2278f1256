// SPDX-License-Identifier: Apache-2.0
#include "io/job/lock_owner.h"

#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// What the text of a lock among other people's files begins with.
constexpr absl::string_view kPlaceMark = "reembed writes here\n";
constexpr size_t kSectorBytes = 512;
constexpr size_t kMaxTextBytes = 16384;  // two paths, escaped, and little more

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? std::string(name) : std::string("unknown");
}

// By which a clock may have been set since a process began.
constexpr int64_t kClockSlack = 10;

// Seconds since 1970 at which a process of this machine began; 0: that cannot be known.
int64_t StartOf(int pid) {
  std::ifstream own(absl::StrCat("/proc/", pid, "/stat")), system("/proc/stat");
  const std::string stat((std::istreambuf_iterator<char>(own)), std::istreambuf_iterator<char>());
  const std::string all((std::istreambuf_iterator<char>(system)), std::istreambuf_iterator<char>());
  // The name, which may hold anything, ends with the last bracket; the start is the twentieth word behind it.
  const size_t name = stat.rfind(") "), boot = all.find("\nbtime ");
  if (name == std::string::npos || boot == std::string::npos) return 0;
  const std::vector<absl::string_view> words = absl::StrSplit(absl::string_view(stat).substr(name + 2), ' ');
  const absl::string_view booted = absl::string_view(all).substr(boot + 7);
  int64_t ticks = 0, seconds = 0;
  if (words.size() < 20 || !absl::SimpleAtoi(words[19], &ticks)) return 0;
  if (!absl::SimpleAtoi(booted.substr(0, booted.find('\n')), &seconds)) return 0;
  return seconds + ticks / sysconf(_SC_CLK_TCK);
}

}  // namespace

LockOwner ThisProcess(const std::string& job) {
  return {.host = HostName(), .pid = absl::StrCat(getpid()), .started = absl::ToUnixSeconds(absl::Now()), .job = job};
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

absl::StatusOr<LockOwner> ParsePlaceOwner(absl::string_view text) {
  const absl::string_view sector = text.substr(0, kSectorBytes);
  const bool is_lost = std::all_of(sector.begin(), sector.end(), [](char byte) { return byte == '\0'; });
  if (is_lost || absl::StartsWith(kPlaceMark, text)) return LockOwner();
  if (!absl::ConsumePrefix(&text, kPlaceMark)) {
    return absl::DataLossError("expected the lock of a target, got something else");
  }
  const absl::StatusOr<LockOwner> owner = ParseLockOwner(text);
  return owner.ok() ? *owner : LockOwner();
}

std::string OwnerWords(const LockOwner& owner) {
  if (owner.pid.empty()) return "another process";
  // Whole seconds, and never negative after the clock was set back.
  const int64_t age = std::max<int64_t>(0, absl::ToUnixSeconds(absl::Now()) - owner.started);
  return absl::StrCat("process ", owner.pid, " on host ", absl::CHexEscape(owner.host), ", started ",
                      age == 0 ? "just now" : absl::StrCat(absl::FormatDuration(absl::Seconds(age)), " ago"));
}

bool IsGone(const LockOwner& owner) {
  int pid = 0;
  if (owner.host != HostName() || !absl::SimpleAtoi(owner.pid, &pid) || pid <= 0) return false;
  if (kill(pid, 0) != 0 && errno != EPERM) return true;
  // A container that is started again has the same host and the same numbers of processes.
  return StartOf(pid) > owner.started + kClockSlack;
}

absl::Status BeingWrittenError(absl::string_view place, const LockOwner& owner) {
  return absl::AbortedError(absl::StrCat(place, ": is being written by ", OwnerWords(owner),
                                         owner.job.empty() ? "" : absl::StrCat(", job ", owner.job),
                                         "; wait for it to end, stop it, or choose another target"));
}

absl::StatusOr<bool> TryLock(const File& file) {
  if (flock(file.fd(), LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return FileError(file.path(), "lock", errno);
}

absl::StatusOr<std::string> ReadLockText(const File& file) {
  std::string text(kMaxTextBytes, '\0');
  ABSL_ASSIGN_OR_RETURN(const size_t bytes, file.ReadAt(0, absl::MakeSpan(text)));
  if (bytes == text.size()) return absl::DataLossError(absl::StrCat(file.path(), ": is no lock"));
  text.resize(bytes);
  return text;
}

std::string LockOwnerText(const LockOwner& owner) {
  std::string text(owner.job.empty() ? "" : kPlaceMark);
  absl::StrAppend(&text, owner.host, "\n", owner.pid, "\n", owner.started, "\n");
  if (!owner.job.empty()) {
    absl::StrAppend(&text, absl::CEscape(owner.job), "\n", absl::CEscape(owner.left_by), "\n");
  }
  return text;
}

absl::Status WriteLockOwner(const File& file, const LockOwner& owner) {
  const std::string text = LockOwnerText(owner);
  // In this order: who reads meanwhile finds a text whose first lines are whole.
  ABSL_RETURN_IF_ERROR(file.WriteAt(0, text));
  return file.Truncate(static_cast<int64_t>(text.size()));
}

}  // namespace reembed
