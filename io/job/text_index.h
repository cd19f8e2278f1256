// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_TEXT_INDEX_H_
#define REEMBED_IO_JOB_TEXT_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/ledger.h"

namespace reembed {

// Which slot a text has, and how that slot stands: the ledger's map from text to vector. Slots are dense from 0 and are
// never given back.
//
// Memory hardly grows with a run, so that ten million texts fit where a million do: it holds 12 bits of each hash and
// the distance to the slot before it, in 65,536 buckets that the hash chooses, about 5 bytes a text. The hashes
// themselves lie in an unnamed file in `folder`, 16 bytes each in slot order. When the 12 bits agree, the file decides,
// so the answer rests on all 128. The file is not for the next run: it is made anew from the ledger.
// Not thread-safe.
class TextIndex {
 public:
  static constexpr int64_t kMaxSlots = 0xFFFFFFFF;

  // `folder` is where the file is made, when there are too many hashes to hold.
  explicit TextIndex(std::string folder);
  ~TextIndex();
  TextIndex(const TextIndex&) = delete;
  TextIndex& operator=(const TextIndex&) = delete;

  int64_t size() const { return size_; }

  // The slot of a text; -1 if it has none. Errors: kInternal (the file cannot be read).
  absl::StatusOr<int64_t> Find(const TextHash& hash) const;

  // Gives a text that has no slot the next one, in `state`. Precondition: Find(hash) == -1 and size() < kMaxSlots.
  // Errors: kResourceExhausted (the disk is full), kInternal; then the index is of no use any more.
  absl::Status Add(const TextHash& hash, SlotState state);

  // Precondition: 0 <= slot < size().
  absl::StatusOr<TextHash> hash(int64_t slot) const;

  // The hashes of the slots from `first` on. Precondition: 0 <= first, first + hashes.size() <= size().
  absl::Status ReadHashes(int64_t first, absl::Span<TextHash> hashes) const;

  SlotState state(int64_t slot) const { return static_cast<SlotState>(states_[slot / 4] >> ShiftOf(slot) & 3); }
  void set_state(int64_t slot, SlotState state) {
    uint8_t& four = states_[slot / 4];
    four = static_cast<uint8_t>((four & ~(3 << ShiftOf(slot))) | static_cast<int>(state) << ShiftOf(slot));
  }

  // Bytes allocated.
  size_t memory_bytes() const;

 private:
  // The texts whose hashes share some bits, in the order of their slots.
  struct Bucket {
    std::unique_ptr<uint32_t[]> entries;
    uint32_t last_slot = 0;
    uint16_t size = 0;
    uint16_t capacity = 0;
  };

  static int ShiftOf(int64_t slot) { return static_cast<int>(slot % 4) * 2; }
  Bucket& BucketOf(const TextHash& hash) { return buckets_[hash.lo % kBuckets]; }
  const Bucket& BucketOf(const TextHash& hash) const { return buckets_[hash.lo % kBuckets]; }
  absl::Status Append(Bucket* bucket, uint32_t entry);
  absl::Status WriteRecent();

  static constexpr size_t kBuckets = size_t{1} << 16;
  static constexpr size_t kRecentHashes = size_t{1} << 13;

  const std::string folder_;
  std::vector<Bucket> buckets_;
  std::vector<uint8_t> states_;   // four slots each
  std::vector<TextHash> recent_;  // of the newest slots, not in the file yet
  int64_t size_ = 0;
  int64_t in_file_ = 0;  // hashes
  size_t entry_bytes_ = 0;
  int file_ = -1;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_TEXT_INDEX_H_
