// SPDX-License-Identifier: Apache-2.0
#include "io/file/mapped_file.h"

#include <sys/mman.h>

#include <cerrno>

#include "engine/status_macros.h"
#include "io/file/file.h"

namespace reembed {

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(path));
  ABSL_ASSIGN_OR_RETURN(const int64_t size, file.Size());
  if (size == 0) return MappedFile(nullptr, 0);
  void* const mapped = mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (mapped == MAP_FAILED) return FileError(path, "read", errno);
  return MappedFile(static_cast<const char*>(mapped), static_cast<size_t>(size));
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

}  // namespace reembed
