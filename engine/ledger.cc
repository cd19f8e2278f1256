// SPDX-License-Identifier: Apache-2.0
#include "engine/ledger.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reembed {

TextHash HashText(absl::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return {.lo = hash.low64, .hi = hash.high64};
}

}  // namespace reembed
