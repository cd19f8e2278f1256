// SPDX-License-Identifier: Apache-2.0
#include "io/store/file_lock.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "engine/text_set.h"
#include "io/job/place_lock.h"

namespace reembed {
namespace {

// The system ends such a lock with the process, and with nothing else.
class FileColumnLock final : public TargetLock {
 public:
  explicit FileColumnLock(std::unique_ptr<PlaceLock> lock) : lock_(std::move(lock)) {}
  absl::Status Keep() override { return absl::OkStatus(); }
  bool unbroken() const override { return true; }

 private:
  const std::unique_ptr<PlaceLock> lock_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TargetLock>> LockFileColumn(const std::string& path, absl::string_view column,
                                                           const std::string& place, const LockAsker& asker) {
  const std::string name = absl::StrCat(path, ".reembed-", absl::Hex(HashText(column).lo, absl::kZeroPad16), ".lock");
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<PlaceLock> lock, PlaceLock::AcquireAt(name, place, asker.job));
  return std::make_unique<FileColumnLock>(std::move(lock));
}

}  // namespace reembed
