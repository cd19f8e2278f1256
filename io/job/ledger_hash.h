// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_LEDGER_HASH_H_
#define REEMBED_IO_JOB_LEDGER_HASH_H_

#include <array>

#include "absl/strings/string_view.h"
#include "engine/ledger.h"

namespace reembed {

// A text's hash as the ledger holds it: 16 bytes, most significant first, which is XXH3's own canonical form.
inline std::array<char, 16> EncodeHash(const TextHash& hash) {
  std::array<char, 16> bytes;
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(hash.hi >> (56 - 8 * i));
    bytes[8 + i] = static_cast<char>(hash.lo >> (56 - 8 * i));
  }
  return bytes;
}

[[nodiscard]] inline bool DecodeHash(absl::string_view bytes, TextHash* hash) {
  if (bytes.size() != 16) return false;
  *hash = {};
  for (int i = 0; i < 8; ++i) {
    hash->hi = hash->hi << 8 | static_cast<unsigned char>(bytes[i]);
    hash->lo = hash->lo << 8 | static_cast<unsigned char>(bytes[8 + i]);
  }
  return true;
}

}  // namespace reembed

#endif  // REEMBED_IO_JOB_LEDGER_HASH_H_
