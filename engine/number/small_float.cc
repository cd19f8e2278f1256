// SPDX-License-Identifier: Apache-2.0
#include "engine/number/small_float.h"

#include <bit>
#include <cmath>

namespace reembed {

uint16_t HalfFromFloat(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // not a number
  if (magnitude >= 0x47800000) return sign | 0x7c00;  // 65536 and above
  if (magnitude >= 0x38800000) {                      // a normal number: drop 13 bits, the carry may reach the exponent
    const uint32_t rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1);
    return static_cast<uint16_t>(sign | (rounded >> 13));
  }
  // Subnormal: in units of 2^-24, and what is left is exact in a float, so the rounding is the hardware's.
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
  return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(scaled)));
}

float FloatFromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t fraction = half & 0x3ff;
  if (exponent == 0) {
    const float number = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(number) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | (fraction << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

uint16_t Bfloat16FromFloat(float number) {
  const uint32_t bits = std::bit_cast<uint32_t>(number);
  // Rounding must not carry a number that is none into the exponent.
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float FloatFromBfloat16(uint16_t number) { return std::bit_cast<float>(static_cast<uint32_t>(number) << 16); }

}  // namespace reembed
