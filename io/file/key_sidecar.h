// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_KEY_SIDECAR_H_
#define REEMBED_IO_FILE_KEY_SIDECAR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "io/file/growing_file.h"
#include "io/file/key_column.h"

namespace reembed {

// The keys of a file that has no room for them: PATH.keys.jsonl, one JSON value a line (42 or "a\"b"), line i for
// row i. A file without it has row numbers for keys.

std::string KeySidecarPath(absl::string_view path);

// How the sidecar of `path` grows, see GrowingFiles.
GrowingFile GrowingKeySidecar(absl::string_view path);

// The sidecar of `path`; null if there is none.
// Errors: kDataLoss (it has not exactly `rows` lines).
absl::StatusOr<std::unique_ptr<KeyColumn>> OpenKeySidecar(absl::string_view path, int64_t rows);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_KEY_SIDECAR_H_
