// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_SET_H_
#define REEMBED_ENGINE_TEXT_SET_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/ledger.h"

namespace reembed {

// Texts that were seen, for counting them: some 6 bytes each. It keeps 56 bits of each hash, so that of ten million
// different texts the chance that one is missed is below 0.1 %. What a vector depends on is decided by the whole hash,
// see TextIndex.
// Not thread-safe.
class TextSet {
 public:
  TextSet() : buckets_(kBuckets) {}

  // Whether the text is new.
  bool Insert(const TextHash& hash);
  bool Contains(const TextHash& hash) const;

  // Bytes allocated.
  size_t memory_bytes() const;

 private:
  // The texts whose hashes share 16 bits: 32 more bits of each, and 8 more.
  struct Bucket {
    std::vector<uint32_t> low;
    std::vector<uint8_t> high;
  };

  static constexpr size_t kBuckets = size_t{1} << 16;

  std::vector<Bucket> buckets_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_SET_H_
