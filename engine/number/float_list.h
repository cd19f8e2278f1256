// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_FLOAT_LIST_H_
#define REEMBED_ENGINE_NUMBER_FLOAT_LIST_H_

#include <string>

#include "absl/types/span.h"

namespace reembed {

// Appends [0.123456789,-1.5e-09], as JSON and Cypher read it: whoever reads the numbers as the nearest float, directly
// or by way of double, gets the same bits. Every number has a point or an exponent. Nearly as short as possible, and
// several times as fast as the shortest form. Precondition: all are finite.
void AppendFloatList(absl::Span<const float> numbers, std::string* out);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_FLOAT_LIST_H_
