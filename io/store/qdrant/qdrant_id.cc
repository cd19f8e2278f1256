// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_id.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

constexpr uint8_t kNamespace[16] = {0x6f, 0x1f, 0x4a, 0x0e, 0x5d, 0x2b, 0x5c, 0x7e,
                                    0x9a, 0x53, 0x0d, 0x5f, 0x3c, 0x1b, 0x7e, 0x42};

// 32 hex digits.
std::optional<QdrantId> FromHex(absl::string_view digits) {
  if (digits.size() != 32 || !std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit)) return std::nullopt;
  const std::string bytes = absl::HexStringToBytes(digits);
  QdrantId id{.is_uuid = true};
  std::memcpy(id.uuid.data(), bytes.data(), id.uuid.size());
  return id;
}

std::optional<QdrantId> ParseUuid(absl::string_view text) {
  if (absl::StartsWith(text, "{") && absl::EndsWith(text, "}")) {
    text = text.substr(1, text.size() - 2);
  } else {
    absl::ConsumePrefix(&text, "urn:uuid:");
  }
  if (text.size() != 36) return FromHex(text);
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return std::nullopt;
    } else {
      digits.push_back(text[i]);
    }
  }
  return FromHex(digits);
}

std::string UuidText(const QdrantId& id) {
  std::string text =
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(id.uuid.data()), id.uuid.size()));
  for (const size_t hyphen : {20, 16, 12, 8}) text.insert(hyphen, 1, '-');
  return text;
}

}  // namespace

std::string QdrantId::Json() const {
  return is_uuid ? absl::StrCat("\"", UuidText(*this), "\"") : absl::StrCat(number);
}

Key QdrantId::AsKey() const {
  if (is_uuid) return UuidText(*this);
  if (number <= static_cast<uint64_t>(INT64_MAX)) return static_cast<int64_t>(number);
  return absl::StrCat(number);
}

std::optional<QdrantId> ParseQdrantId(KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) {
    if (*number < 0) return std::nullopt;
    return QdrantId{.number = static_cast<uint64_t>(*number)};
  }
  const absl::string_view text = std::get<absl::string_view>(key);
  uint64_t number = 0;
  // Not "007": it would be the same point as "7".
  if (absl::SimpleAtoi(text, &number) && absl::StrCat(number) == text) return QdrantId{.number = number};
  return ParseUuid(text);
}

QdrantId HashedQdrantId(KeyView key) {
  std::string name(reinterpret_cast<const char*>(kNamespace), sizeof(kNamespace));
  name += KeyText(key);
  // For UUIDs only: nothing here rests on its strength.
  std::array<uint8_t, SHA_DIGEST_LENGTH> digest;
  SHA1(reinterpret_cast<const uint8_t*>(name.data()), name.size(), digest.data());
  QdrantId id{.is_uuid = true};
  std::copy_n(digest.begin(), id.uuid.size(), id.uuid.begin());
  id.uuid[6] = static_cast<uint8_t>((id.uuid[6] & 0x0f) | 0x50);
  id.uuid[8] = static_cast<uint8_t>((id.uuid[8] & 0x3f) | 0x80);
  return id;
}

}  // namespace reembed
