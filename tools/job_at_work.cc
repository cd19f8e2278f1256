// SPDX-License-Identifier: Apache-2.0
#include "tools/job_at_work.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/status/statusor.h"
#include "io/job/lock_owner.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// A run on another machine writes more often than this.
constexpr std::chrono::seconds kSilent(60);

}  // namespace

bool IsAtWork(const std::string& folder) {
  std::ifstream file(folder + "/lock");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const absl::StatusOr<LockOwner> owner = ParseLockOwner(text);
  if (!owner.ok() || owner->pid.empty()) return false;
  if (owner->host == ThisProcess().host) return !IsGone(*owner);
  std::error_code error;
  const fs::file_time_type written = fs::last_write_time(folder + "/ledger.db-wal", error);
  return !error && fs::file_time_type::clock::now() - written < kSilent;
}

}  // namespace reembed
