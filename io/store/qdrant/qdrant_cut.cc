// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_cut.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/even_cuts.h"
#include "engine/status_macros.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_id.h"
#include "io/store/qdrant/qdrant_scroll.h"
#include "io/store/qdrant/qdrant_side.h"

namespace reembed {
namespace {

constexpr int kPage = 64;
constexpr absl::uint128 kFirstUuid = absl::MakeUint128(1, 0);
constexpr absl::uint128 kBehindUuids = absl::MakeUint128(2, 0);

// Numbers, then UUIDs, as the server has them. Of a UUID its first half says enough.
absl::uint128 PlaceOf(const QdrantId& id) {
  if (!id.is_uuid) return id.number;
  uint64_t half = 0;
  for (size_t i = 0; i < 8; ++i) half = half << 8 | id.uuid[i];
  return kFirstUuid + half;
}

// The first id that has this place.
QdrantId IdAt(absl::uint128 place) {
  QdrantId id{.is_uuid = place >= kFirstUuid};
  if (!id.is_uuid) {
    id.number = absl::Uint128Low64(place);
    return id;
  }
  for (size_t i = 0; i < 8; ++i) id.uuid[i] = static_cast<uint8_t>(absl::Uint128Low64(place) >> (56 - 8 * i));
  return id;
}

}  // namespace

absl::StatusOr<std::vector<Key>> CutQdrant(const Location& location, int shares, const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation asked, ParseQdrantLocation(location));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, QdrantClient::Make(asked.url, options));
  ABSL_ASSIGN_OR_RETURN(const std::string rows, QdrantRowsOf(client.get(), asked));
  const std::string path = absl::StrCat("/collections/", QdrantPathPart(rows));
  const auto places = [&](absl::uint128 from, size_t most) -> absl::StatusOr<std::vector<absl::uint128>> {
    std::vector<absl::uint128> found;
    if (from >= kBehindUuids) return found;
    QdrantScroll scroll(client.get(), path, R"("with_payload":false,"with_vector":false)", kPage);
    scroll.SeekTo(IdAt(from));
    while (found.size() < most) {
      ABSL_ASSIGN_OR_RETURN(const QdrantPoint* const point, scroll.Next());
      if (point == nullptr) break;
      found.push_back(PlaceOf(point->id));
    }
    return found;
  };
  ABSL_ASSIGN_OR_RETURN(const std::vector<absl::uint128> cuts, CutEvenly(shares, places));
  std::vector<Key> keys;
  keys.reserve(cuts.size());
  for (const absl::uint128 place : cuts) keys.push_back(IdAt(place).AsKey());
  return keys;
}

}  // namespace reembed
