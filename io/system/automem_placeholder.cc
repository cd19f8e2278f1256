// SPDX-License-Identifier: Apache-2.0
#include "io/system/automem_placeholder.h"

#include <algorithm>
#include <array>
#include <bit>
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

constexpr uint32_t kSha256Constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// SHA-256 as eight words. Source: FIPS 180-4, section 6.2.
std::array<uint32_t, 8> Sha256(absl::string_view message) {
  std::string text(message);
  const uint64_t bits = text.size() * 8;
  text.push_back('\x80');
  text.append((120 - text.size() % 64) % 64, '\0');
  for (int shift = 56; shift >= 0; shift -= 8) text.push_back(static_cast<char>(bits >> shift));
  std::array<uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  for (size_t block = 0; block < text.size(); block += 64) {
    uint32_t words[64];
    for (size_t i = 0; i < 64; ++i) {
      if (i >= 16) {
        const uint32_t a = words[i - 15], b = words[i - 2];
        words[i] = words[i - 16] + words[i - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) +
                   (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
        continue;
      }
      words[i] = 0;
      for (size_t j = 0; j < 4; ++j) words[i] = words[i] << 8 | static_cast<uint8_t>(text[block + 4 * i + j]);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (size_t i = 0; i < 64; ++i) {
      const uint32_t first = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) +
                             kSha256Constants[i] + words[i];
      const uint32_t second = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + first;
      d = c;
      c = b;
      b = a;
      a = first + second;
    }
    const std::array<uint32_t, 8> sums = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < state.size(); ++i) state[i] += sums[i];
  }
  return state;
}

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
  const std::array<uint32_t, 8> digest = Sha256(text);
  const auto reversed = [](uint32_t word) {
    return word >> 24 | (word >> 8 & 0xff00) | (word << 8 & 0xff0000) | word << 24;
  };
  std::vector<uint32_t> key = {reversed(digest[0])};
  // A seed that fits into one word is a key of one word.
  if (digest[1] != 0) key.push_back(reversed(digest[1]));
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
