// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_BACKUP_STORES_H_
#define REEMBED_TOOLS_BACKUP_STORES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/location.h"
#include "io/file/backup_folder.h"

namespace reembed {

// Parts of a backup that came from one place and go back together.
struct BackupGroup {
  Location place;  // where they go
  std::vector<BackupPart> parts;
  bool named = false;  // by the user, not by the backup
};

// One kind of place that can be saved and put back, by URI scheme. To add one, write its file in io/ and a line in the
// table of backup_stores.cc.
struct BackupStore {
  const char* kind;  // its name in manifests, and the scheme of its locations
  // Reads the place into files of the folder and adds them.
  absl::Status (*back_up)(const Location& place, BackupFolder* folder);
  // What is there now and will be replaced, for people; empty: nothing is.
  // Errors: what would keep Restore() from beginning.
  absl::StatusOr<std::string> (*occupant)(const std::string& dir, const BackupGroup& group);
  // Puts the group's parts, whose files are sound, back. The old is whole until the new is. Returns what a user should
  // know besides, or nothing.
  absl::StatusOr<std::string> (*restore)(const std::string& dir, const BackupGroup& group);
};

// Null: places of this scheme cannot be saved.
const BackupStore* FindBackupStore(absl::string_view scheme);

// A folder without manifest that holds AutoMem's own backups, as one of ours: the newest graph and the newest
// collection, or an older one that is `only` (falkordb/falkordb_20250131_120000.json.gz). They do not say where they
// came from. nullopt: it holds none.
std::optional<BackupManifest> FindAutomemBackup(const std::string& dir, const std::string& only);

// The schemes that can, for messages.
std::string BackupSchemes();

}  // namespace reembed

#endif  // REEMBED_TOOLS_BACKUP_STORES_H_
