// SPDX-License-Identifier: Apache-2.0
#include "io/system/automem_backup.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "io/store/falkordb/falkordb_kind.h"
#include "io/store/qdrant/qdrant_kind.h"

namespace reembed {

namespace fs = std::filesystem;

// Graph and collection have one time in their names, as its restore looks for both under it.
// [scripts/restore_from_backup.py:find_backup_by_timestamp]
std::optional<BackupManifest> FindAutomemBackup(const std::string& dir, const std::string& only) {
  BackupManifest manifest{.program = "AutoMem", .system = "automem"};
  for (const char* const store : {kFalkorKind.name, kQdrantKind.name}) {
    std::string newest;
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(dir) / store, ignored)) {
      const std::string name = entry.path().filename().string();
      if (!absl::StartsWith(name, absl::StrCat(store, "_")) || !absl::EndsWith(name, ".json.gz")) continue;
      const bool is_asked = absl::StrCat(store, "/", name) == only;
      newest = is_asked ? name : std::max(newest, name);
      if (is_asked) break;
    }
    if (newest.empty()) continue;
    manifest.parts.push_back({.file = absl::StrCat(store, "/", newest), .kind = store});
    absl::Time made;
    const std::string time = newest.substr(newest.find('_') + 1, 15);
    if (absl::ParseTime("%Y%m%d_%H%M%S", time, &made, nullptr)) manifest.made = made;
  }
  if (manifest.parts.empty()) return std::nullopt;
  return manifest;
}

}  // namespace reembed
