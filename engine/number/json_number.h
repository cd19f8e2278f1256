// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_JSON_NUMBER_H_
#define REEMBED_ENGINE_NUMBER_JSON_NUMBER_H_

#include <bit>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace reembed {

// Reads one JSON number (RFC 8259, section 6; nothing around it) as the float nearest to it, ties to even: bit for bit
// what strtof() makes of it in the C locale, whatever the locale is. Not by way of double, which rounds twice. Beyond
// the range of float it is infinite or zero. null, NaN and Infinity, which some servers write, are not-a-number here.
// nullopt: the text is something else.
std::optional<float> ParseJsonNumber(absl::string_view text);

// A double that is off by at most 8 units in its last place from some number tells the float nearest to that number,
// unless it lies as close as that to the middle between two floats: then the bits that a float has not lie in
// [kDoubtBegin, kDoubtBegin + kDoubtLength). Holds for zero and for magnitudes from 2^-125 to 2^126, where floats and
// doubles are normal.
inline constexpr uint64_t kBelowFloat = (uint64_t{1} << 29) - 1;
inline constexpr uint64_t kDoubtBegin = (uint64_t{1} << 28) - 8;
inline constexpr int64_t kDoubtLength = 17;

inline bool TellsNearestFloat(double value) {
  return ((std::bit_cast<uint64_t>(value) - kDoubtBegin) & kBelowFloat) >= static_cast<uint64_t>(kDoubtLength);
}

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_JSON_NUMBER_H_
