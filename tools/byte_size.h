// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_BYTE_SIZE_H_
#define REEMBED_TOOLS_BYTE_SIZE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

// Bytes of "4GiB", "500MB", "2G" (a GiB) or "1000000"; of an empty text 0. Errors: kInvalidArgument (names the flag).
absl::StatusOr<int64_t> ParseBytes(absl::string_view flag, absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_TOOLS_BYTE_SIZE_H_
