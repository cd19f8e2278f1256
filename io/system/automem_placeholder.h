// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SYSTEM_AUTOMEM_PLACEHOLDER_H_
#define REEMBED_IO_SYSTEM_AUTOMEM_PLACEHOLDER_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// AutoMem stores a vector without meaning when its embedding API fails: numbers of Python's Mersenne Twister from 0 to
// 1, seeded with the first 8 bytes (little-endian) of the text's SHA-256. Only the text tells it from a real one.
// Source: [automem/embedding/runtime_helpers.py:58-64], [automem/embedding/placeholder.py]
namespace reembed {

// Fills `vector` with the placeholder of `text`: bit for bit what Python gives, rounded to float.
void MakeAutomemPlaceholder(absl::string_view text, absl::Span<float> vector);

// Whether `vector` is the placeholder of `text`, whatever its length: a Cosine collection scales what it stores.
bool IsAutomemPlaceholder(absl::string_view text, absl::Span<const float> vector);

}  // namespace reembed

#endif  // REEMBED_IO_SYSTEM_AUTOMEM_PLACEHOLDER_H_
