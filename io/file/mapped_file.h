// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_MAPPED_FILE_H_
#define REEMBED_IO_FILE_MAPPED_FILE_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace reembed {

// The bytes of a file without a copy of them: the system reads and drops pages as it likes, so a file may be larger
// than memory. Precondition: nobody cuts it short while this lives, or reading ends the process.
class MappedFile {
 public:
  // Errors: kNotFound, kPermissionDenied, as FileError() has them.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  absl::string_view bytes() const { return data_ == nullptr ? absl::string_view("") : absl::string_view(data_, size_); }

 private:
  MappedFile(const char* data, size_t size) : data_(data), size_(size) {}

  const char* data_;  // null: the file is empty
  size_t size_;
};

}  // namespace reembed

#endif  // REEMBED_IO_FILE_MAPPED_FILE_H_
