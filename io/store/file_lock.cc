// SPDX-License-Identifier: Apache-2.0
#include "io/store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "engine/text_set.h"
#include "io/job/place_lock.h"

namespace reembed {
namespace {

// The system ends such locks with the process, and with nothing else.
class FileLocks final : public TargetLock {
 public:
  explicit FileLocks(std::vector<std::unique_ptr<PlaceLock>> locks) : locks_(std::move(locks)) {}
  absl::Status EnsureHeld() override { return absl::OkStatus(); }
  bool unbroken() const override { return true; }

 private:
  const std::vector<std::unique_ptr<PlaceLock>> locks_;
};

std::string WholeFileLockPath(const std::string& path) { return absl::StrCat(path, ".reembed.lock"); }

// Whether nobody replaces the file. Jobs that ask at the same time are not in each other's way.
absl::Status CheckNotBeingReplaced(const std::string& path, const std::string& place) {
  const std::string name = WholeFileLockPath(path);
  const File file(open(name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), name);
  if (file.fd() < 0 || flock(file.fd(), LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return absl::OkStatus();
  const absl::StatusOr<std::string> text = ReadLockText(file);
  const absl::StatusOr<LockOwner> owner = ParsePlaceOwner(text.ok() ? *text : "");
  return BeingWrittenError(place, owner.ok() ? *owner : LockOwner());
}

}  // namespace

absl::StatusOr<std::unique_ptr<TargetLock>> LockFileColumn(const std::string& path, absl::string_view column,
                                                           const std::string& place, const LockAsker& asker) {
  const std::string name = absl::StrCat(path, ".reembed-", absl::Hex(HashText(column).lo, absl::kZeroPad16), ".lock");
  std::vector<std::unique_ptr<PlaceLock>> locks;
  ABSL_ASSIGN_OR_RETURN(locks.emplace_back(), asker.shared ? PlaceLock::AcquireSharedAt(name, place, asker.job)
                                                           : PlaceLock::AcquireAt(name, place, asker.job));
  // Afterwards: whoever replaces the file looks for columns' locks when it has its own.
  ABSL_RETURN_IF_ERROR(CheckNotBeingReplaced(path, place));
  return std::make_unique<FileLocks>(std::move(locks));
}

absl::StatusOr<std::unique_ptr<TargetLock>> LockWholeFile(const std::string& path, const LockAsker& asker) {
  std::vector<std::unique_ptr<PlaceLock>> locks;
  ABSL_ASSIGN_OR_RETURN(locks.emplace_back(), PlaceLock::AcquireAt(WholeFileLockPath(path), path, asker.job));
  const std::filesystem::path file = std::filesystem::absolute(path);
  const std::string prefix = absl::StrCat(file.filename().string(), ".reembed-");
  std::error_code error;
  for (std::filesystem::directory_iterator entry(file.parent_path(), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!absl::StartsWith(name, prefix) || !absl::EndsWith(name, ".lock")) continue;
    ABSL_ASSIGN_OR_RETURN(locks.emplace_back(), PlaceLock::AcquireAt(entry->path().string(), path, asker.job));
  }
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat(file.parent_path().string(), ": cannot be read"));
  return std::make_unique<FileLocks>(std::move(locks));
}

}  // namespace reembed
