// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LFS_POINTER_H_
#define REEMBED_TOOLS_LFS_POINTER_H_

#include <string>

#include "absl/status/status.h"

namespace reembed {

// Git LFS keeps large files elsewhere and leaves a few lines in their place, under their name. Errors:
// kFailedPrecondition (the file at `path` is such lines). OK for all else, also where there is no file.
absl::Status CheckNoLfsPointer(const std::string& path);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LFS_POINTER_H_
