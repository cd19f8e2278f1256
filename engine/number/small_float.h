// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_SMALL_FLOAT_H_
#define REEMBED_ENGINE_NUMBER_SMALL_FLOAT_H_

#include <cstdint>

// Floats of 16 bits. All roundings are to nearest, ties to even.
namespace reembed {

// binary32 -> binary16; beyond 65519.99 infinite. Source: IEEE 754-2008, section 4.3.1.
uint16_t HalfFromFloat(float number);
float FloatFromHalf(uint16_t half);

// binary32 -> bfloat16, its upper half; what is not a number stays so.
uint16_t Bfloat16FromFloat(float number);
float FloatFromBfloat16(uint16_t number);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_SMALL_FLOAT_H_
