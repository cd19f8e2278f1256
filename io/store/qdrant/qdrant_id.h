// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_ID_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_ID_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "engine/key.h"

namespace reembed {

// The id of a point: an unsigned 64-bit integer or a UUID; Qdrant knows nothing else. Ordered as Qdrant orders points:
// integers first, then UUIDs by their bytes. Source: qdrant.tech, concepts, points, "Point IDs".
struct QdrantId {
  bool is_uuid = false;
  uint64_t number = 0;
  std::array<uint8_t, 16> uuid = {};

  friend bool operator==(const QdrantId&, const QdrantId&) = default;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang makes the comparison, with a 0 in it.
  friend auto operator<=>(const QdrantId&, const QdrantId&) = default;

  // As in a request: 42, or "5f0c6a6e-...", hyphenated in lower case.
  std::string Json() const;

  // The key that rows with this id have: an integer where it fits, else the text of Json() without quotes.
  Key AsKey() const;
};

// The id that a key can be: an integer from 0 on, as number or in decimal digits without leading zeros, or a UUID in
// any of the forms that Qdrant takes (hyphenated, 32 hex digits, in braces, with `urn:uuid:`). nullopt: none.
std::optional<QdrantId> ParseQdrantId(KeyView key);

// A UUID made of any key, always the same one: version 5 of RFC 9562, from the key's text, under the namespace
// 6f1f4a0e-5d2b-5c7e-9a53-0d5f3c1b7e42, which is this program's own.
QdrantId HashedQdrantId(KeyView key);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_ID_H_
