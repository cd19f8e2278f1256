#ifndef REEMBED_IO_JOB_TEXT_INDEX_H_
#define REEMBED_IO_JOB_TEXT_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/ledger.h"

namespace reembed {

// Which slot a text has, and how that slot stands: the ledger's map in memory. Slots are dense from 0 and are never
// given back. Costs 17 bytes a text, and 4 bytes for each place of a hash table that is at most 0.7 full: about 25 MB
// for a million texts, 240 MB for ten million. Growing copies no text.
// Not thread-safe.
class TextIndex {
 public:
  // One less than the largest uint32_t, which marks an empty place.
  static constexpr int64_t kMaxSlots = 0xFFFFFFFF;

  TextIndex();

  int64_t size() const { return size_; }

  // The slot of a text; -1 if it has none.
  int64_t Find(const TextHash& hash) const;

  // Gives a text that has no slot the next one, in `state`. Requires Find(hash) == -1 and size() < kMaxSlots.
  int64_t Add(const TextHash& hash, SlotState state);

  // Makes room for `slots` in all, so that adding them never rebuilds the table.
  void Reserve(int64_t slots);

  // Require 0 <= slot < size().
  const TextHash& hash(int64_t slot) const { return SegmentOf(slot).hashes[slot % kSegmentSlots]; }
  SlotState state(int64_t slot) const { return SegmentOf(slot).states[slot % kSegmentSlots]; }
  void set_state(int64_t slot, SlotState state) {
    segments_[slot / kSegmentSlots]->states[slot % kSegmentSlots] = state;
  }

  // Bytes allocated.
  size_t memory_bytes() const;

 private:
  static constexpr int64_t kSegmentSlots = int64_t{1} << 16;
  struct Segment {
    TextHash hashes[kSegmentSlots];
    SlotState states[kSegmentSlots];
  };

  const Segment& SegmentOf(int64_t slot) const { return *segments_[slot / kSegmentSlots]; }
  void Rebuild(size_t places);
  void Place(int64_t slot);

  std::vector<std::unique_ptr<Segment>> segments_;
  std::vector<uint32_t> table_;  // a power of two of slots, by the low bits of the hash, linear probing
  int64_t size_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_TEXT_INDEX_H_
