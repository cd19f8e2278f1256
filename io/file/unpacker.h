// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_UNPACKER_H_
#define REEMBED_IO_FILE_UNPACKER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "io/file/file.h"

namespace reembed {

// The text in a file that gzip or zstd packed, however often one packed file was put behind another. Used by one
// thread.
class Unpacker {
 public:
  virtual ~Unpacker() = default;

  // Fills `to` with the text from `offset` on; fewer bytes only at its end. Returns how many. Cheap where the last call
  // ended: what lies between is unpacked and dropped, and for what lies before that it begins anew.
  // Errors: kDataLoss (damaged, or cut short).
  virtual absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> to) = 0;
};

// null: the file is not packed by either, as its first bytes say, or it is a pipe. `file` is borrowed.
absl::StatusOr<std::unique_ptr<Unpacker>> MakeUnpacker(const File* file);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_UNPACKER_H_
