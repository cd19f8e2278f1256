// SPDX-License-Identifier: Apache-2.0
// Values of a cache, which anybody may have written.
#include <vector>

#include "engine/number/normalize.h"
#include "io/share/cache_key.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed;
  using namespace reembed::fuzz;
  Input input(data, size);
  std::vector<float> vector(1 + input.Choose(8));
  const CacheKey key(32, 'k');
  const bool taken = DecodeCached(key, input.rest(), absl::MakeSpan(vector));
  Saw(taken ? "taken" : "refused");
  if (taken) {
    Require(CheckVector(vector) == VectorFault::kNone, "a vector that is taken is finite");
    Require(EncodeCached(key, vector) == input.rest(), "what is taken is what was put");
  }
  // The bytes as numbers: what is put comes back under its own key, and under no other.
  for (size_t i = 0; i < vector.size(); ++i) vector[i] = i < input.rest().size() ? 1.0f + input.rest()[i] : 1.0f;
  if (CheckVector(vector) != VectorFault::kNone) return 0;
  const std::string put = EncodeCached(key, vector);
  std::vector<float> back(vector.size());
  Require(DecodeCached(key, put, absl::MakeSpan(back)) && SameBits(back, vector), "what is put comes back");
  Require(!DecodeCached(CacheKey(32, 'l'), put, absl::MakeSpan(back)), "and under no other key");
  return 0;
}
