// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_VECTOR_FILE_H_
#define REEMBED_IO_JOB_VECTOR_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace reembed {

// JOB/vectors.f32: row-major [slots, dim] little-endian float32 without a header, one row per slot.
// What a slot holds that the ledger does not list as kept is undefined (a hole, or half of a write).
// Thread-safe, as far as no two threads use the same slots.
//
// Errors: kResourceExhausted (no room: the message has the bytes that did not fit), kDataLoss (the file ends before
// the slot), kNotFound, kPermissionDenied, kInternal (input/output error).
class VectorFile {
 public:
  enum class Access { kCreate, kReadWrite, kReadOnly };  // kCreate: also if there is one already

  static absl::StatusOr<std::unique_ptr<VectorFile>> Open(const std::string& path, int dim, Access access);

  VectorFile(const VectorFile&) = delete;
  VectorFile& operator=(const VectorFile&) = delete;
  ~VectorFile();

  // `vectors` is [n, dim], for the slots [slot, slot + n). Not durable before Sync().
  absl::Status Write(int64_t slot, absl::Span<const float> vectors);
  absl::Status Sync();

  absl::Status Read(int64_t slot, absl::Span<float> vectors) const;

  // Whole vectors in the file, written or not.
  absl::StatusOr<int64_t> slots() const;

  const std::string& path() const { return path_; }
  int dim() const { return dim_; }

  // 32 bits of the XXH3 of a slot's vector and its number, so that it is known at no other slot; what the ledger holds
  // for each kept slot since format 2.
  static uint32_t SlotSum(int64_t slot, absl::Span<const float> vector);

  // 64-bit XXH3 of the bytes of `vectors`; what a ledger of format 1 holds for each run of kept slots.
  static uint64_t Checksum(absl::Span<const float> vectors);

  // The same for the slots [begin, end) of this file, read in pieces.
  absl::StatusOr<uint64_t> ChecksumOf(int64_t begin, int64_t end) const;

 private:
  VectorFile(std::string path, int fd, int dim) : path_(std::move(path)), fd_(fd), dim_(dim) {}

  const std::string path_;
  const int fd_;
  const int dim_;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_VECTOR_FILE_H_
