// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SHARE_CACHE_KEY_H_
#define REEMBED_IO_SHARE_CACHE_KEY_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "io/embed/api_client.h"

namespace reembed {

// 32 bytes.
using CacheKey = std::string;

// The names under which a model's vectors are kept: SHA-256 over the text as it is sent and all that makes its vector
// another one: model, width, what the API is told that texts are, the prefix, further fields of the request, whether it
// may cut, and what is done to the vector afterwards. So two models, or two widths, never meet under one name.
class CacheKeys {
 public:
  // `normalization`: as JobIdentity has it.
  CacheKeys(const ApiOptions& options, absl::string_view normalization);

  CacheKey OfText(absl::string_view text) const;
  // Of the vectors of the canary texts.
  CacheKey OfCanary() const;
  int dim() const { return dim_; }

 private:
  const int dim_;
  std::string asked_;  // the digest of all but the text
};

// What is kept: the width, the numbers as they came (little-endian float32), and a checksum over both and the key.
std::string EncodeCached(const CacheKey& key, absl::Span<const float> vector);

// Whether the bytes are what EncodeCached() made of this key and a vector of this width; then it is in `vector`.
bool DecodeCached(const CacheKey& key, absl::string_view bytes, absl::Span<float> vector);

}  // namespace reembed

#endif  // REEMBED_IO_SHARE_CACHE_KEY_H_
