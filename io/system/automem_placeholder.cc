// SPDX-License-Identifier: Apache-2.0
#include "io/system/automem_placeholder.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace reembed {
namespace {

// A stored number has a relative error of 2^-24; the placeholders of two texts have a cosine near 0.75.
constexpr double kSameCosine = 0.9999;

// Sets std::mt19937 up as the generator's authors do it for a key of several words, and Python with them: the standard
// has only their other way. Source: Matsumoto and Nishimura, mt19937ar.c, init_by_array; CPython, random_seed.
class InitByArray {
 public:
  using result_type = uint32_t;

  explicit InitByArray(std::vector<uint32_t> key) : key_(std::move(key)) {}

  template <typename Iterator>
  void generate(Iterator begin, Iterator end) const {
    constexpr size_t kWords = std::mt19937::state_size;
    std::array<uint32_t, kWords> state;
    state[0] = 19650218;
    const auto mixed = [&](size_t i) { return state[i - 1] ^ state[i - 1] >> 30; };
    for (size_t i = 1; i < kWords; ++i) state[i] = 1812433253u * mixed(i) + static_cast<uint32_t>(i);
    size_t at = 1;
    const auto advance = [&] {
      if (++at < kWords) return;
      state[0] = state[kWords - 1];
      at = 1;
    };
    for (size_t i = 0; i < kWords; ++i) {
      const size_t word = i % key_.size();
      state[at] = (state[at] ^ mixed(at) * 1664525u) + key_[word] + static_cast<uint32_t>(word);
      advance();
    }
    for (size_t i = 1; i < kWords; ++i) {
      state[at] = (state[at] ^ mixed(at) * 1566083941u) - static_cast<uint32_t>(at);
      advance();
    }
    state[0] = 0x80000000u;
    std::copy_n(state.begin(), std::min(kWords, static_cast<size_t>(end - begin)), begin);
  }

 private:
  const std::vector<uint32_t> key_;
};

}  // namespace

void MakeAutomemPlaceholder(absl::string_view text, absl::Span<float> vector) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  const auto word = [&](size_t at) {
    return digest[at] | digest[at + 1] << 8 | digest[at + 2] << 16 | static_cast<uint32_t>(digest[at + 3]) << 24;
  };
  std::vector<uint32_t> key = {word(0)};
  // A seed that fits into one word is a key of one word.
  if (word(4) != 0) key.push_back(word(4));
  InitByArray seed(std::move(key));
  std::mt19937 random(seed);
  for (float& number : vector) {
    const uint32_t high = static_cast<uint32_t>(random()) >> 5, low = static_cast<uint32_t>(random()) >> 6;
    number = static_cast<float>((high * 67108864.0 + low) / 9007199254740992.0);
  }
}

bool IsAutomemPlaceholder(absl::string_view text, absl::Span<const float> vector) {
  // Real vectors have negative numbers, and need no further look.
  if (std::any_of(vector.begin(), vector.end(), [](float number) { return number < 0; })) return false;
  std::vector<float> made(vector.size());
  MakeAutomemPlaceholder(text, absl::MakeSpan(made));
  double product = 0, stored = 0, expected = 0;
  for (size_t i = 0; i < made.size(); ++i) {
    product += double{made[i]} * vector[i];
    stored += double{vector[i]} * vector[i];
    expected += double{made[i]} * made[i];
  }
  return stored > 0 && product >= kSameCosine * std::sqrt(stored * expected);
}

}  // namespace reembed
