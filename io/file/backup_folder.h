// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_BACKUP_FOLDER_H_
#define REEMBED_IO_FILE_BACKUP_FOLDER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/backup_part.h"
#include "io/job/job_lock.h"

namespace reembed {

inline constexpr int kBackupFormat = 1;

// A backup that is being made. Its files are gathered in DIR.partial, which takes the name DIR when everything is on
// the disk: what has the name DIR is whole. Used by one thread.
class BackupFolder {
 public:
  // Errors: kAlreadyExists (DIR is there and not empty); kAborted (another process is making it); of the file system.
  static absl::StatusOr<std::unique_ptr<BackupFolder>> Make(const std::string& dir);
  BackupFolder(const BackupFolder&) = delete;
  BackupFolder& operator=(const BackupFolder&) = delete;
  // Removes what was gathered, unless it is finished.
  ~BackupFolder();

  // When it was begun, for names that have a time.
  absl::Time begun() const { return begun_; }

  // Where a part's file is to be written; makes the folders above it. Errors: of the file system.
  absl::StatusOr<std::string> PathOf(const std::string& file) const;

  // Takes the part whose file is there now: measures it and makes it durable.
  absl::Status Add(BackupPart part);

  // Writes the manifest and gives the folder its name. Returns what was written.
  absl::StatusOr<BackupManifest> Finish(const std::string& program, const std::string& system);

 private:
  BackupFolder(std::string dir, std::string partial) : dir_(std::move(dir)), partial_(std::move(partial)) {}

  const std::string dir_, partial_;
  const absl::Time begun_ = absl::Now();
  std::unique_ptr<JobLock> lock_;
  std::vector<BackupPart> parts_;
  bool finished_ = false;
};

// Errors: kNotFound (no backup there), kInvalidArgument (a file), kFailedPrecondition (of a newer format), kDataLoss
// (the manifest is damaged, or was changed).
absl::StatusOr<BackupManifest> ReadBackupManifest(const std::string& dir);

// Whether the part's file is what was written. Errors: kDataLoss (says what differs), kNotFound.
absl::Status CheckBackupPart(const std::string& dir, const BackupPart& part);

// XXH3-128 of a file's bytes, hexadecimal.
absl::StatusOr<std::string> HashFile(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_BACKUP_FOLDER_H_
