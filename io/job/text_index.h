// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_TEXT_INDEX_H_
#define REEMBED_IO_JOB_TEXT_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/ledger.h"
#include "io/job/slot_states.h"

namespace reembed {

// Which slot a text has, and how that slot stands: the ledger's map from text to vector. Slots are dense from 0 and are
// never given back.
//
// Memory hardly grows with a run, so that ten million texts fit where a million do: it holds 28 bits of each hash,
// those that choose its bucket included, and the distance to the slot before it there: about 5 bytes a text. There are
// more buckets the more texts there are, one split in two at a time, so that a text is found as fast among many, and
// what one bucket gives back fits the next. The hashes themselves lie in an unnamed file in `folder`, 16 bytes each in
// slot order. When the 28 bits agree, the file decides, so the answer rests on all 128. The file is not for the next
// run: it is made anew from the ledger. Not thread-safe.
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

  // Before the first Add(), where it is known how many texts come: saves that buckets are split.
  void Expect(int64_t texts);

  // Precondition: 0 <= slot < size().
  absl::StatusOr<TextHash> hash(int64_t slot) const;

  // The hashes of the slots from `first` on. Precondition: 0 <= first, first + hashes.size() <= size().
  absl::Status ReadHashes(int64_t first, absl::Span<TextHash> hashes) const;

  SlotState state(int64_t slot) const { return states_[slot]; }
  void set_state(int64_t slot, SlotState state) { states_.Set(slot, state); }

  // Bytes allocated.
  size_t memory_bytes() const;

 private:
  // The texts whose hashes share their low bits, in the order of their slots. Memory for a whole number of kBlock.
  struct Bucket {
    std::unique_ptr<uint32_t[]> entries;
    uint32_t size = 0;
    uint32_t last_slot = 0;
  };

  // An entry: bits of the hash that the bucket does not say, above the distance to the slot before it in the bucket.
  // Both together have 32 bits, however many choose the bucket.
  struct Form {
    int bucket_bits = 0;
    int gap_bits() const { return kEntryBits - kIdBits + bucket_bits; }
    // Stands for no text, only for as long a distance.
    uint32_t filler() const { return (uint32_t{1} << gap_bits()) - 1; }
    uint32_t IdOf(const TextHash& hash) const {
      return static_cast<uint32_t>(hash.lo >> bucket_bits) & ((uint32_t{1} << (kIdBits - bucket_bits)) - 1);
    }
  };

  size_t PlaceOf(const TextHash& hash) const;
  Form FormOf(size_t place) const;
  void Append(const Form& form, uint32_t slot, uint32_t id, Bucket* bucket);
  void Push(uint32_t entry, Bucket* bucket);
  void SplitNext();
  absl::Status WriteRecent();

  static constexpr int kEntryBits = 32;
  static constexpr int kIdBits = 28;
  static constexpr int kFewestBucketBits = 10, kMostBucketBits = 24;
  static constexpr size_t kTextsPerBucket = 48;  // on average: as long as four or so lines of memory
  static constexpr uint32_t kBlock = 8;          // entries that are compared at once
  static constexpr size_t kRecentHashes = size_t{1} << 13;

  const std::string folder_;
  std::deque<Bucket> buckets_;    // linear hashing: [0, split_) and those behind the first 2^bits_ have a bit more
  int bits_ = kFewestBucketBits;  // of a hash that choose one of the others
  size_t split_ = 0;              // the bucket to be split next
  SlotStates states_;
  std::vector<TextHash> recent_;  // of the newest slots, not in the file yet
  int64_t size_ = 0;
  int64_t in_file_ = 0;  // hashes
  size_t entry_bytes_ = 0;
  int file_ = -1;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_TEXT_INDEX_H_
