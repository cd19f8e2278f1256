// SPDX-License-Identifier: Apache-2.0
#include "tools/lfs_pointer.h"

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace reembed {

absl::Status CheckNoLfsPointer(const std::string& path) {
  constexpr absl::string_view kBegin = "version https://git-lfs.github.com/spec/";
  char head[kBegin.size()];
  std::ifstream file(path, std::ios::binary);
  if (!file.read(head, sizeof head) || absl::string_view(head, sizeof head) != kBegin) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": is what Git LFS leaves in place of a file that was not fetched; git lfs pull fetches it"));
}

}  // namespace reembed
