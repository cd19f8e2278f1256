// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_BASE64_ALPHABET_H_
#define REEMBED_ENGINE_NUMBER_BASE64_ALPHABET_H_

#include <array>
#include <cstdint>

// Tables for base64.cc, which is compiled once per SIMD target and so cannot hold them itself.
namespace reembed::base64 {

// RFC 4648, section 4.
inline constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

inline constexpr uint8_t kInvalid = 0xFF;

// Six-bit value of every byte, or kInvalid.
constexpr std::array<uint8_t, 256> MakeValues() {
  std::array<uint8_t, 256> values{};
  for (uint8_t& value : values) value = kInvalid;
  for (uint8_t i = 0; i < 64; ++i) values[static_cast<uint8_t>(kAlphabet[i])] = i;
  return values;
}
inline constexpr std::array<uint8_t, 256> kValues = MakeValues();

// A byte is looked up by its two halves, because SIMD looks up 16 entries at once. All its characters lie in 0x20-0x7F,
// so each of these six upper halves has a bit of its own, and all other upper halves share one more. A byte is outside
// the alphabet if and only if by_upper[byte >> 4] & by_lower[byte & 15] is not zero.
struct alignas(16) HalfTables {
  uint8_t by_upper[16] = {};
  uint8_t by_lower[16] = {};
  // What to add to a character to get its value. `/` does not share the distance of `+`, its neighbour in the upper
  // half 2, and uses entry 1, which no valid character needs.
  uint8_t distance[16] = {};
};

constexpr HalfTables MakeHalfTables() {
  constexpr uint8_t kNowhere = 0x40;
  HalfTables tables;
  for (int upper = 0; upper < 16; ++upper) {
    const bool has_characters = upper >= 2 && upper <= 7;
    const auto bit = static_cast<uint8_t>(has_characters ? 1 << (upper - 2) : kNowhere);
    tables.by_upper[upper] = bit;
    for (int lower = 0; lower < 16; ++lower) {
      const int byte = upper * 16 + lower;
      if (kValues[byte] == kInvalid) {
        tables.by_lower[lower] |= bit;
      } else {
        tables.distance[byte == '/' ? 1 : upper] = static_cast<uint8_t>(kValues[byte] - byte);
      }
    }
  }
  return tables;
}
inline constexpr HalfTables kHalves = MakeHalfTables();

}  // namespace reembed::base64

#endif  // REEMBED_ENGINE_NUMBER_BASE64_ALPHABET_H_
