// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SYSTEM_AUTOMEM_BACKUP_H_
#define REEMBED_IO_SYSTEM_AUTOMEM_BACKUP_H_

#include <optional>
#include <string>

#include "engine/backup_part.h"

namespace reembed {

// A folder without manifest that holds AutoMem's own backups, as one of ours: the newest graph and the newest
// collection, or an older one that is `only` (falkordb/falkordb_20250131_120000.json.gz). They do not say where they
// came from. nullopt: it holds none.
std::optional<BackupManifest> FindAutomemBackup(const std::string& dir, const std::string& only);

}  // namespace reembed

#endif  // REEMBED_IO_SYSTEM_AUTOMEM_BACKUP_H_
