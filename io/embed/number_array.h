#ifndef REEMBED_IO_EMBED_NUMBER_ARRAY_H_
#define REEMBED_IO_EMBED_NUMBER_ARRAY_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// Reads a JSON array of numbers into floats, each rounded by way of double, as Python clients get it. Stores the first
// out.size() of them and returns how many there are, so that a wrong width can be named. null, NaN and Infinity, which
// some servers write for them, are not-a-number here; a number beyond the range of float is infinite.
// nullopt: anything else in it.
// Why not simdjson's get_double, which is as fast: version 3.0.1 reads 0.12345678901234567890 as something else (its
// check for more than 19 digits behind "0." measures the leading zeros).
std::optional<int> ParseNumberArray(absl::string_view json, absl::Span<float> out);

}  // namespace reembed

#endif  // REEMBED_IO_EMBED_NUMBER_ARRAY_H_
