// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_id.h"

#include <algorithm>
#include <bit>
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

// SHA-1 of a short text, for UUIDs only: nothing here rests on its strength. Source: RFC 3174, section 6.1.
std::array<uint8_t, 20> Sha1(std::string text) {
  const uint64_t bits = text.size() * 8;
  text.push_back('\x80');
  text.append((120 - text.size() % 64) % 64, '\0');
  for (int shift = 56; shift >= 0; shift -= 8) text.push_back(static_cast<char>(bits >> shift));
  uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  for (size_t block = 0; block < text.size(); block += 64) {
    uint32_t words[80];
    for (size_t i = 0; i < 80; ++i) {
      if (i >= 16) {
        words[i] = std::rotl(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
        continue;
      }
      words[i] = 0;
      for (size_t j = 0; j < 4; ++j) words[i] = words[i] << 8 | static_cast<uint8_t>(text[block + 4 * i + j]);
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (size_t i = 0; i < 80; ++i) {
      const uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
      const uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
      const uint32_t next = std::rotl(a, 5) + f + e + k + words[i];
      e = d;
      d = c;
      c = std::rotl(b, 30);
      b = a;
      a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
  }
  std::array<uint8_t, 20> digest;
  for (size_t i = 0; i < digest.size(); ++i) digest[i] = static_cast<uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

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
  const std::array<uint8_t, 20> digest = Sha1(std::move(name));
  QdrantId id{.is_uuid = true};
  std::copy_n(digest.begin(), id.uuid.size(), id.uuid.begin());
  id.uuid[6] = static_cast<uint8_t>((id.uuid[6] & 0x0f) | 0x50);
  id.uuid[8] = static_cast<uint8_t>((id.uuid[8] & 0x3f) | 0x80);
  return id;
}

}  // namespace reembed
