// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_SLOT_STATES_H_
#define REEMBED_IO_JOB_SLOT_STATES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/ledger.h"

namespace reembed {

// How each slot stands, [size]: a quarter of a byte each. Not thread-safe.
class SlotStates {
 public:
  int64_t size() const { return size_; }
  bool contains(int64_t slot) const { return slot >= 0 && slot < size_; }

  // Precondition of both: contains(slot).
  SlotState operator[](int64_t slot) const { return static_cast<SlotState>(fours_[slot / 4] >> ShiftOf(slot) & 3); }
  void Set(int64_t slot, SlotState state) {
    uint8_t& four = fours_[slot / 4];
    four = static_cast<uint8_t>((four & ~(3 << ShiftOf(slot))) | static_cast<int>(state) << ShiftOf(slot));
  }

  void Add(SlotState state) {
    // Doubling would waste as much as there is.
    if (size_ % 4 == 0 && fours_.size() == fours_.capacity()) fours_.reserve(fours_.size() + fours_.size() / 8 + 1024);
    if (size_ % 4 == 0) fours_.push_back(0);
    Set(size_++, state);
  }

  // `size` slots, each kFree. Precondition: size >= 0.
  void Reset(int64_t size) {
    fours_.assign(static_cast<size_t>((size + 3) / 4), 0);
    size_ = size;
  }

  int64_t Count(SlotState state) const {
    int64_t count = 0;
    for (int64_t slot = 0; slot < size_; ++slot) count += static_cast<int64_t>((*this)[slot] == state);
    return count;
  }

  // Bytes allocated.
  size_t memory_bytes() const { return fours_.capacity(); }

 private:
  static int ShiftOf(int64_t slot) { return static_cast<int>(slot % 4) * 2; }

  static_assert(static_cast<int>(SlotState::kFree) == 0 && static_cast<int>(SlotState::kRejected) == 3);
  std::vector<uint8_t> fours_;  // slot 4i in the lowest bits
  int64_t size_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_SLOT_STATES_H_
