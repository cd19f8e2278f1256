// SPDX-License-Identifier: Apache-2.0
// The manifest of a backup.
#include "io/file/backup_folder.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  static Scratch scratch;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  scratch.Write("manifest.json", text);
  const absl::StatusOr<BackupManifest> manifest = ReadBackupManifest(scratch.dir());
  Saw(manifest.status());
  if (!manifest.ok()) return 0;
  for (const BackupPart& part : manifest->parts) {
    Require(!part.file.empty() && part.file[0] != '/' && part.file.find("..") == std::string::npos,
            "a part lies in the backup's folder");
    Saw(CheckBackupPart(scratch.dir(), part));
  }
  return 0;
}
