// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_SHA256_H_
#define REEMBED_ENGINE_TEXT_SHA256_H_

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace reembed {

// SHA-256 as eight words, the first one first in the digest, with its high byte first. For names that nobody can make
// two texts have. Source: FIPS 180-4, section 6.2.
std::array<uint32_t, 8> Sha256(absl::string_view message);

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_SHA256_H_
