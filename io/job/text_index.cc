// SPDX-License-Identifier: Apache-2.0
#include "io/job/text_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// An entry: 12 bits of the hash above the distance to the slot before it in the bucket, so that four bytes name a text.
constexpr int kGapBits = 20;
constexpr uint32_t kMaxGap = (uint32_t{1} << kGapBits) - 1;
// Stands for no text, only for a distance of kMaxGap.
constexpr uint32_t kFiller = 0;

// The low 16 bits have chosen the bucket.
uint32_t FingerprintOf(const TextHash& hash) { return std::max(static_cast<uint32_t>(hash.lo >> 52), uint32_t{1}); }

absl::StatusOr<int> OpenUnnamedFile(const std::string& folder) {
  int fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  // Not every file system has files without a name.
  std::string path = absl::StrCat(folder, "/texts-XXXXXX");
  fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(folder, ": cannot make a temporary file"));
  unlink(path.c_str());
  return fd;
}

}  // namespace

TextIndex::TextIndex(std::string folder) : folder_(std::move(folder)), buckets_(kBuckets) {
  recent_.reserve(kRecentHashes);
}

TextIndex::~TextIndex() {
  if (file_ >= 0) close(file_);
}

absl::StatusOr<int64_t> TextIndex::Find(const TextHash& wanted) const {
  const Bucket& bucket = BucketOf(wanted);
  const uint32_t fingerprint = FingerprintOf(wanted);
  int64_t slot = 0;
  for (size_t i = 0; i < bucket.size; ++i) {
    const uint32_t entry = bucket.entries[i];
    slot += entry & kMaxGap;
    if (entry >> kGapBits != fingerprint) continue;
    ABSL_ASSIGN_OR_RETURN(const TextHash found, hash(slot));
    if (found == wanted) return slot;
  }
  return -1;
}

absl::Status TextIndex::Add(const TextHash& hash, SlotState state) {
  const auto slot = static_cast<uint32_t>(size_);
  Bucket& bucket = BucketOf(hash);
  uint32_t gap = slot - bucket.last_slot;
  for (; gap > kMaxGap; gap -= kMaxGap) {
    ABSL_RETURN_IF_ERROR(Append(&bucket, kFiller | kMaxGap));
  }
  ABSL_RETURN_IF_ERROR(Append(&bucket, FingerprintOf(hash) << kGapBits | gap));
  bucket.last_slot = slot;
  if (size_ % 4 == 0) states_.push_back(0);
  ++size_;
  set_state(slot, state);
  recent_.push_back(hash);
  return recent_.size() == kRecentHashes ? WriteRecent() : absl::OkStatus();
}

// Grows by a quarter: doubling would waste as much as the entries need.
absl::Status TextIndex::Append(Bucket* bucket, uint32_t entry) {
  if (bucket->size == bucket->capacity) {
    const size_t wanted = bucket->capacity + std::max<size_t>(4, bucket->capacity / 4);
    const size_t capacity = std::min<size_t>(wanted, std::numeric_limits<uint16_t>::max());
    if (capacity == bucket->size) {
      return absl::ResourceExhaustedError(absl::StrCat(folder_, ": no room for more than ", size_, " texts"));
    }
    auto entries = std::make_unique_for_overwrite<uint32_t[]>(capacity);
    std::copy_n(bucket->entries.get(), bucket->size, entries.get());
    entry_bytes_ += (capacity - bucket->capacity) * sizeof(uint32_t);
    bucket->entries = std::move(entries);
    bucket->capacity = static_cast<uint16_t>(capacity);
  }
  bucket->entries[bucket->size++] = entry;
  return absl::OkStatus();
}

absl::Status TextIndex::WriteRecent() {
  if (file_ < 0) {
    ABSL_ASSIGN_OR_RETURN(file_, OpenUnnamedFile(folder_));
  }
  const char* bytes = reinterpret_cast<const char*>(recent_.data());
  size_t left = recent_.size() * sizeof(TextHash);
  auto place = static_cast<off_t>(in_file_ * sizeof(TextHash));
  while (left > 0) {
    const ssize_t written = pwrite(file_, bytes, left, place);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int error = written < 0 ? errno : ENOSPC;
      return absl::ErrnoToStatus(error, absl::StrCat(folder_, ": cannot write ", left, " bytes of a temporary file"));
    }
    bytes += written;
    place += written;
    left -= static_cast<size_t>(written);
  }
  in_file_ += static_cast<int64_t>(recent_.size());
  recent_.clear();
  return absl::OkStatus();
}

absl::StatusOr<TextHash> TextIndex::hash(int64_t slot) const {
  if (slot >= in_file_) return recent_[slot - in_file_];
  TextHash found;
  ABSL_RETURN_IF_ERROR(ReadHashes(slot, {&found, 1}));
  return found;
}

absl::Status TextIndex::ReadHashes(int64_t first, absl::Span<TextHash> hashes) const {
  const int64_t end = first + static_cast<int64_t>(hashes.size());
  const int64_t end_in_file = std::clamp(in_file_, first, end);
  if (end > end_in_file) {
    std::copy_n(recent_.begin() + (end_in_file - in_file_), end - end_in_file, hashes.begin() + (end_in_file - first));
  }
  char* bytes = reinterpret_cast<char*>(hashes.data());
  auto place = static_cast<off_t>(first * sizeof(TextHash));
  const auto place_end = static_cast<off_t>(end_in_file * sizeof(TextHash));
  while (place < place_end) {
    const ssize_t got = pread(file_, bytes, place_end - place, place);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return absl::InternalError(
          absl::StrCat(folder_, ": cannot read the temporary file with the hashes of the texts"));
    }
    bytes += got;
    place += got;
  }
  return absl::OkStatus();
}

size_t TextIndex::memory_bytes() const {
  return kBuckets * sizeof(Bucket) + entry_bytes_ + states_.capacity() + recent_.capacity() * sizeof(TextHash);
}

}  // namespace reembed
