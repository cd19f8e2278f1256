// SPDX-License-Identifier: Apache-2.0
#include "io/job/vector_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "vectors.f32 is written as memory has it");

// Enough that the disk, not the calls, limits a check of the whole file.
constexpr size_t kCheckPieceBytes = size_t{4} << 20;

bool IsFull() { return errno == ENOSPC || errno == EDQUOT || errno == EFBIG; }

}  // namespace

absl::StatusOr<std::unique_ptr<VectorFile>> VectorFile::Open(const std::string& path, int dim, Access access) {
  if (access != Access::kReadOnly) {
    ABSL_RETURN_IF_ERROR(OpenOwnFile(path, access == Access::kCreate ? Absent::kMake : Absent::kFail).status());
  }
  const int fd = open(path.c_str(), (access == Access::kReadOnly ? O_RDONLY : O_RDWR | O_NOFOLLOW) | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  return std::unique_ptr<VectorFile>(new VectorFile(path, fd, dim));
}

VectorFile::~VectorFile() { close(fd_); }

absl::Status VectorFile::Write(int64_t slot, absl::Span<const float> vectors) {
  const auto* bytes = reinterpret_cast<const char*>(vectors.data());
  size_t left = vectors.size() * sizeof(float);
  off_t offset = slot * dim_ * static_cast<off_t>(sizeof(float));
  while (left > 0) {
    const ssize_t written = pwrite(fd_, bytes, left, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && IsFull()) {
      return absl::ResourceExhaustedError(
          absl::StrCat(path_, ": disk full: no room for ", left, " more bytes; free some and run again"));
    }
    if (written < 0) return absl::InternalError(absl::StrCat(path_, ": write failed: ", std::strerror(errno)));
    bytes += written;
    offset += written;
    left -= written;
  }
  return absl::OkStatus();
}

absl::Status VectorFile::Sync() {
  // After a failure the kernel may have dropped the pages and call them clean: it must not be asked again.
  if (fdatasync(fd_) == 0) return absl::OkStatus();
  const std::string message = absl::StrCat(path_, ": cannot be made durable: ", std::strerror(errno));
  return IsFull() ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

absl::Status VectorFile::Read(int64_t slot, absl::Span<float> vectors) const {
  auto* bytes = reinterpret_cast<char*>(vectors.data());
  size_t left = vectors.size() * sizeof(float);
  off_t offset = slot * dim_ * static_cast<off_t>(sizeof(float));
  while (left > 0) {
    const ssize_t read = pread(fd_, bytes, left, offset);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return absl::InternalError(absl::StrCat(path_, ": read failed: ", std::strerror(errno)));
    if (read == 0) {
      return absl::DataLossError(absl::StrCat(path_, ": slot ", slot, ": expected ", vectors.size() * sizeof(float),
                                              " bytes, the file ends ", left, " bytes earlier"));
    }
    bytes += read;
    offset += read;
    left -= read;
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> VectorFile::slots() const {
  struct stat info;
  if (fstat(fd_, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat(path_, ": cannot ask for its size"));
  return info.st_size / (dim_ * static_cast<int64_t>(sizeof(float)));
}

uint32_t VectorFile::SlotSum(int64_t slot, absl::Span<const float> vector) {
  return static_cast<uint32_t>(
      XXH3_64bits_withSeed(vector.data(), vector.size() * sizeof(float), static_cast<uint64_t>(slot)));
}

uint64_t VectorFile::Checksum(absl::Span<const float> vectors) {
  return XXH3_64bits(vectors.data(), vectors.size() * sizeof(float));
}

absl::StatusOr<uint64_t> VectorFile::ChecksumOf(int64_t begin, int64_t end) const {
  const int64_t piece_slots = std::max(int64_t{1}, static_cast<int64_t>(kCheckPieceBytes / (dim_ * sizeof(float))));
  std::vector<float> piece(std::min(piece_slots, end - begin) * dim_);
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset(&state);
  for (int64_t slot = begin; slot < end; slot += piece_slots) {
    const absl::Span<float> vectors(piece.data(), std::min(piece_slots, end - slot) * dim_);
    ABSL_RETURN_IF_ERROR(Read(slot, vectors));
    XXH3_64bits_update(&state, vectors.data(), vectors.size() * sizeof(float));
  }
  return XXH3_64bits_digest(&state);
}

}  // namespace reembed
