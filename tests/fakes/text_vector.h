// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_TEXT_VECTOR_H_
#define REEMBED_TESTS_FAKES_TEXT_VECTOR_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// The vector that fake models give a text: a function of the text and the width alone, so that a test can tell at any
// place whether a vector belongs to its text. Values in [-1, 1), exact in float; different texts get different vectors.
inline void TextVector(absl::string_view text, absl::Span<float> out) {
  uint64_t state = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : text) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  for (float& value : out) {  // splitmix64
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    value = static_cast<float>(static_cast<int64_t>(z >> 40) - (int64_t{1} << 23)) / (1 << 23);
  }
}

inline std::vector<float> TextVector(absl::string_view text, int dim) {
  std::vector<float> vector(dim);
  TextVector(text, absl::MakeSpan(vector));
  return vector;
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_TEXT_VECTOR_H_
