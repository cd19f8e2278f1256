// SPDX-License-Identifier: Apache-2.0
#include "io/job/text_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Whether an entry may have this id. Eight at once, as there is room for eight at least behind the first of a block.
bool MayHave(const uint32_t* entries, size_t size, int gap_bits, uint32_t id) {
  constexpr size_t kAtOnce = 8;
  for (size_t i = 0; i < size; i += kAtOnce) {
    uint32_t found = 0;
    for (size_t k = 0; k < kAtOnce; ++k) found |= static_cast<uint32_t>(entries[i + k] >> gap_bits == id);
    if (found != 0) return true;
  }
  return false;
}

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

TextIndex::TextIndex(std::string folder) : folder_(std::move(folder)), buckets_(size_t{1} << kFewestBucketBits) {
  recent_.reserve(kRecentHashes);
}

TextIndex::~TextIndex() {
  if (file_ >= 0) close(file_);
}

void TextIndex::Expect(int64_t texts) {
  const auto buckets = static_cast<size_t>(std::clamp<int64_t>(texts, 0, kMaxSlots)) / kTextsPerBucket;
  while (bits_ < kMostBucketBits && size_t{2} << bits_ <= buckets) ++bits_;
  const size_t all = size_t{1} << bits_;
  split_ = bits_ < kMostBucketBits && buckets > all ? buckets - all : 0;
  buckets_.resize(all + split_);
}

size_t TextIndex::PlaceOf(const TextHash& hash) const {
  const size_t place = hash.lo & ((size_t{1} << bits_) - 1);
  return place >= split_ ? place : hash.lo & ((size_t{2} << bits_) - 1);
}

TextIndex::Form TextIndex::FormOf(size_t place) const {
  return {place < split_ || place >> bits_ != 0 ? bits_ + 1 : bits_};
}

absl::StatusOr<int64_t> TextIndex::Find(const TextHash& wanted) const {
  const size_t place = PlaceOf(wanted);
  const Bucket& bucket = buckets_[place];
  const Form form = FormOf(place);
  const uint32_t id = form.IdOf(wanted);
  if (!MayHave(bucket.entries.get(), bucket.size, form.gap_bits(), id)) return -1;
  int64_t slot = 0;
  for (uint32_t i = 0; i < bucket.size; ++i) {
    const uint32_t entry = bucket.entries[i];
    const uint32_t gap = entry & form.filler();
    slot += gap;
    if (entry >> form.gap_bits() != id || gap == form.filler()) continue;
    ABSL_ASSIGN_OR_RETURN(const TextHash found, hash(slot));
    if (found == wanted) return slot;
  }
  return -1;
}

absl::Status TextIndex::Add(const TextHash& hash, SlotState state) {
  if (static_cast<size_t>(size_) >= kTextsPerBucket * buckets_.size() && bits_ < kMostBucketBits) SplitNext();
  const size_t place = PlaceOf(hash);
  const Form form = FormOf(place);
  Append(form, static_cast<uint32_t>(size_), form.IdOf(hash), &buckets_[place]);
  ++size_;
  states_.Add(state);
  recent_.push_back(hash);
  return recent_.size() == kRecentHashes ? WriteRecent() : absl::OkStatus();
}

void TextIndex::Append(const Form& form, uint32_t slot, uint32_t id, Bucket* bucket) {
  uint32_t gap = slot - bucket->last_slot;
  for (; gap >= form.filler(); gap -= form.filler()) Push(form.filler(), bucket);
  Push(id << form.gap_bits() | gap, bucket);
  bucket->last_slot = slot;
}

void TextIndex::Push(uint32_t entry, Bucket* bucket) {
  if (bucket->size % kBlock == 0) {
    auto entries = std::make_unique_for_overwrite<uint32_t[]>(bucket->size + kBlock);
    std::copy_n(bucket->entries.get(), bucket->size, entries.get());
    std::fill_n(entries.get() + bucket->size, kBlock, 0);
    entry_bytes_ += kBlock * sizeof(uint32_t);
    bucket->entries = std::move(entries);
  }
  bucket->entries[bucket->size++] = entry;
}

void TextIndex::SplitNext() {
  const Form form = FormOf(split_);
  const Form halves{form.bucket_bits + 1};
  Bucket whole = std::move(buckets_[split_]);
  Bucket low, high;
  uint32_t slot = 0;
  for (uint32_t i = 0; i < whole.size; ++i) {
    const uint32_t gap = whole.entries[i] & form.filler();
    slot += gap;
    if (gap == form.filler()) continue;
    const uint32_t id = whole.entries[i] >> form.gap_bits();
    Append(halves, slot, id >> 1, id % 2 == 0 ? &low : &high);
  }
  entry_bytes_ -= sizeof(uint32_t) * kBlock * ((whole.size + kBlock - 1) / kBlock);
  buckets_[split_] = std::move(low);
  buckets_.push_back(std::move(high));
  if (++split_ < size_t{1} << bits_) return;
  ++bits_;
  split_ = 0;
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
  return buckets_.size() * sizeof(Bucket) + entry_bytes_ + states_.memory_bytes() +
         recent_.capacity() * sizeof(TextHash);
}

}  // namespace reembed
