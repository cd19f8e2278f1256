// SPDX-License-Identifier: Apache-2.0
#include "io/file/open_elsewhere.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace reembed {

namespace fs = std::filesystem;

absl::Status CheckNotOpenElsewhere(const std::string& path) {
  struct stat wanted;
  if (stat(path.c_str(), &wanted) != 0) return absl::OkStatus();
  std::error_code ignored;
  for (const fs::directory_entry& process : fs::directory_iterator("/proc", ignored)) {
    const std::string pid = process.path().filename().string();
    if (!std::all_of(pid.begin(), pid.end(), absl::ascii_isdigit) || pid == absl::StrCat(getpid())) continue;
    std::error_code hidden;  // another user's, or gone meanwhile
    for (const fs::directory_entry& open : fs::directory_iterator(process.path() / "fd", hidden)) {
      struct stat found;
      if (stat(open.path().c_str(), &found) != 0) continue;
      if (found.st_dev != wanted.st_dev || found.st_ino != wanted.st_ino) continue;
      std::ifstream name(process.path() / "comm");
      std::string words;
      std::getline(name, words);
      return absl::AbortedError(
          absl::StrCat(path, ": is open in process ", pid, " (", words, "); stop it, then run this again"));
    }
  }
  return absl::OkStatus();
}

}  // namespace reembed
