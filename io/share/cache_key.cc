// SPDX-License-Identifier: Apache-2.0
#include "io/share/cache_key.h"

#include <openssl/sha.h>

#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/canary.h"
#include "engine/ledger.h"
#include "engine/number/normalize.h"

namespace reembed {
namespace {

constexpr absl::string_view kFormat = "reembed cache 1";
constexpr size_t kChecksumBytes = 16;

void AppendWord(uint64_t word, size_t bytes, std::string* out) {
  for (size_t i = 0; i < bytes; ++i) out->push_back(static_cast<char>(word >> (8 * i)));
}

// With its length in front, so that two rows of fields never come to the same bytes.
void AppendField(absl::string_view field, std::string* out) {
  AppendWord(field.size(), 8, out);
  out->append(field.data(), field.size());
}

std::string Digest(absl::string_view message) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const uint8_t*>(message.data()), message.size(), reinterpret_cast<uint8_t*>(digest.data()));
  return digest;
}

std::string Checksum(const CacheKey& key, absl::string_view content) {
  const TextHash hash = HashText(absl::StrCat(key, content));
  std::string checksum;
  AppendWord(hash.lo, 8, &checksum);
  AppendWord(hash.hi, 8, &checksum);
  return checksum;
}

}  // namespace

CacheKeys::CacheKeys(const ApiOptions& options, absl::string_view normalization) : dim_(options.model.dim) {
  std::string fields;
  AppendField(kFormat, &fields);
  AppendField(options.model.name, &fields);
  AppendField(absl::StrCat(options.model.dim), &fields);
  AppendField(options.dimensions.has_value() ? absl::StrCat(*options.dimensions) : "", &fields);
  AppendField(options.tell_use ? absl::StrCat(static_cast<int>(options.use)) : "", &fields);
  AppendField(options.text_prefix, &fields);
  AppendField(options.truncate ? "truncate" : "", &fields);
  AppendField(normalization, &fields);
  for (const BodyField& field : options.body_fields) {
    AppendField(field.name, &fields);
    AppendField(field.json, &fields);
  }
  asked_ = Digest(fields);
}

CacheKey CacheKeys::OfText(absl::string_view text) const { return Digest(absl::StrCat(asked_, "t", text)); }

CacheKey CacheKeys::OfCanary() const {
  std::string message = asked_ + "c";
  for (const absl::string_view text : CanaryTexts()) AppendField(text, &message);
  return Digest(message);
}

std::string EncodeCached(const CacheKey& key, absl::Span<const float> vector) {
  std::string bytes;
  bytes.reserve(4 + vector.size() * sizeof(float) + kChecksumBytes);
  AppendWord(vector.size(), 4, &bytes);
  for (const float number : vector) {
    uint32_t bits = 0;
    std::memcpy(&bits, &number, sizeof(bits));
    AppendWord(bits, 4, &bytes);
  }
  return bytes + Checksum(key, bytes);
}

bool DecodeCached(const CacheKey& key, absl::string_view bytes, absl::Span<float> vector) {
  const size_t content = 4 + vector.size() * sizeof(float);
  if (bytes.size() != content + kChecksumBytes) return false;
  if (bytes.substr(content) != Checksum(key, bytes.substr(0, content))) return false;
  const auto word = [bytes](size_t at) {
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i) bits |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
    return bits;
  };
  if (word(0) != vector.size()) return false;
  for (size_t i = 0; i < vector.size(); ++i) {
    const uint32_t bits = word(4 + 4 * i);
    std::memcpy(&vector[i], &bits, sizeof(bits));
  }
  return CheckVector(vector) == VectorFault::kNone;
}

}  // namespace reembed
