// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_BASE64_H_
#define REEMBED_ENGINE_NUMBER_BASE64_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

// Decodes RFC 4648 base64 (standard alphabet, `=` padding required) into exactly out.size() bytes.
// SIMD, chosen at run time. `out` need not be aligned. Returns false, with `out` in any state, when the text has a
// character outside the alphabet, wrong padding, bits behind the last byte that are not zero, or another decoded length
// than out.size().
[[nodiscard]] bool DecodeBase64(absl::string_view text, absl::Span<unsigned char> out);

// Number of bytes that a well-formed base64 text of this form decodes to; looks at length and padding only.
size_t DecodedBase64Size(absl::string_view text);

// The reverse, for the built-in server: replaces *out.
void EncodeBase64(absl::Span<const unsigned char> bytes, std::string* out);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_BASE64_H_
