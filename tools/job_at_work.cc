// SPDX-License-Identifier: Apache-2.0
#include "tools/job_at_work.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "io/job/lock_owner.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// A run on another machine writes more often than this.
constexpr std::chrono::seconds kSilent(60);
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

bool IsAtWork(const std::string& folder) {
  std::ifstream file(folder + "/lock");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const absl::StatusOr<LockOwner> owner = ParseLockOwner(text);
  int pid = 0;
  if (!owner.ok() || !absl::SimpleAtoi(owner->pid, &pid)) return false;
  if (owner->host == ThisProcess().host) {
    if (kill(pid, 0) != 0 && errno != EPERM) return false;
    // A container that is started again has the same host and the same numbers of processes.
    return StartOf(pid) <= owner->started + kClockSlack;
  }
  std::error_code error;
  const fs::file_time_type written = fs::last_write_time(folder + "/ledger.db-wal", error);
  return !error && fs::file_time_type::clock::now() - written < kSilent;
}

}  // namespace reembed
