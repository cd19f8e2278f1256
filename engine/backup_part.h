// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_BACKUP_PART_H_
#define REEMBED_ENGINE_BACKUP_PART_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// What a backup consists of, as the places that are saved and put back see it.
namespace reembed {

// How many rows there are of each kind: table, label, `points` ...
using RowCounts = std::vector<std::pair<std::string, int64_t>>;

// One file of a backup.
struct BackupPart {
  std::string file;    // path in the folder
  std::string kind;    // StoreKind::name of where it goes back to
  std::string origin;  // what it was read from and goes back to, without secrets
  RowCounts rows;
  int64_t bytes = 0;  // this and `hash` are measured by BackupFolder::Add
  std::string hash;   // XXH3-128 of the file, hexadecimal
};

// BACKUP/manifest.json
struct BackupManifest {
  std::string program;  // that made it, with its version
  std::string system;   // memory system; empty: places of the user's own
  absl::Time made;
  std::vector<BackupPart> parts;
  // Why the places it names are not to be believed without a look; empty: it is as this program wrote it, and nobody
  // but this user can have changed it.
  std::string doubt;
};

// Where the files of a backup are written. Lives as long as the call that it is handed to.
struct BackupFiles {
  absl::Time begun;  // the backup, for names that have a time
  // The path for a file of the backup; makes the folders above it. Errors: of the file system.
  absl::FunctionRef<absl::StatusOr<std::string>(const std::string& file)> path_of;
};

// Told by whoever restores how far that is: `done` of `total` rows, or bytes of files. Each stage counts for itself.
enum class RestoreUnit { kRows, kBytes };
using RestoreProgress = absl::FunctionRef<void(absl::string_view stage, int64_t done, int64_t total, RestoreUnit unit)>;
inline constexpr absl::string_view kPuttingBack = "putting back";  // the stage of most

// 20260131_120000, UTC: files of one backup that belong together have it in their names.
std::string BackupTimestamp(absl::Time begun);

}  // namespace reembed

#endif  // REEMBED_ENGINE_BACKUP_PART_H_
