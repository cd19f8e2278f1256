// SPDX-License-Identifier: Apache-2.0
#include "engine/text_set.h"

#include <algorithm>

namespace reembed {
namespace {

// By a quarter: doubling would waste as much as the hashes need.
template <typename Number>
void Append(Number number, std::vector<Number>* to) {
  if (to->size() == to->capacity()) to->reserve(to->size() + std::max<size_t>(4, to->size() / 4));
  to->push_back(number);
}

uint32_t LowOf(const TextHash& hash) { return static_cast<uint32_t>(hash.lo >> 16); }
uint8_t HighOf(const TextHash& hash) { return static_cast<uint8_t>(hash.lo >> 48); }

}  // namespace

bool TextSet::Contains(const TextHash& hash) const {
  const Bucket& bucket = buckets_[hash.lo % kBuckets];
  const uint32_t low = LowOf(hash);
  for (auto at = bucket.low.begin();; ++at) {
    at = std::find(at, bucket.low.end(), low);
    if (at == bucket.low.end()) return false;
    if (bucket.high[static_cast<size_t>(at - bucket.low.begin())] == HighOf(hash)) return true;
  }
}

bool TextSet::Insert(const TextHash& hash) {
  if (Contains(hash)) return false;
  Bucket& bucket = buckets_[hash.lo % kBuckets];
  Append(LowOf(hash), &bucket.low);
  Append(HighOf(hash), &bucket.high);
  return true;
}

size_t TextSet::memory_bytes() const {
  size_t bytes = kBuckets * sizeof(Bucket);
  for (const Bucket& bucket : buckets_) bytes += bucket.low.capacity() * sizeof(uint32_t) + bucket.high.capacity();
  return bytes;
}

}  // namespace reembed
