// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_NUMBER_ARRAY_H_
#define REEMBED_ENGINE_NUMBER_NUMBER_ARRAY_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// Reads a JSON array of numbers, each as ParseJsonNumber() reads it, bit for bit as strtof(). Stores the first
// out.size() of them and returns how many there are, so that a wrong width can be named. SIMD, chosen at run time.
// nullopt: anything else in it; `out` is in any state then.
// Why not simdjson's get_double: it has half the speed, rounds twice on the way to float, and version 3.0.1 reads
// 0.12345678901234567890 as something else (its check for more than 19 digits behind "0." measures the leading zeros).
std::optional<int> ParseNumberArray(absl::string_view json, absl::Span<float> out);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_NUMBER_ARRAY_H_
