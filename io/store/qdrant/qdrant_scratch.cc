// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_scratch.h"

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/status_macros.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_side.h"

namespace reembed {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

absl::StatusOr<std::unique_ptr<QdrantClient>> Connect(const QdrantLocation& place, const Location& location) {
  return QdrantClient::Make(place.url, {.api_key = location.secret, .patience = kPatience});
}

absl::StatusOr<Location> CollectionLike(const Location& target, absl::string_view name) {
  ABSL_RETURN_IF_ERROR(ParseQdrantLocation(target).status());
  Location scratch = target;
  while (scratch.path.ends_with('/')) scratch.path.pop_back();
  scratch.path = absl::StrCat(scratch.path.substr(0, scratch.path.rfind('/') + 1), name);
  scratch.parameters.clear();
  for (const char* const same : {"vector", "ids", "key", "distance"}) {
    if (!target.Get(same).empty()) scratch.parameters[same] = target.Get(same);
  }
  scratch.parameters["create"] = "yes";
  return scratch;
}

absl::Status Make(const Location& scratch, const Location& target, int dim, int64_t) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation made, ParseQdrantLocation(scratch));
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation like, ParseQdrantLocation(target));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, Connect(made, scratch));
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> occupied,
                        GetQdrantCollection(client.get(), made.collection));
  if (occupied.has_value()) {
    return absl::AlreadyExistsError(
        absl::StrCat(client->url(), ": a collection `", made.collection, "` is there already"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> found,
                        GetQdrantCollection(client.get(), like.collection));
  // Of a collection that is not there, or has no such vector yet, the sink makes one of its own.
  if (!found.has_value() || found->Find(like.vector) == nullptr) return absl::OkStatus();
  return MakeQdrantSide(client.get(), {.side = made.collection, .like = *found, .vector = like.vector, .dim = dim});
}

absl::Status Remove(const Location& scratch) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation place, ParseQdrantLocation(scratch));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, Connect(place, scratch));
  const absl::Status removed = client->Call({.method = "DELETE", .path = place.Path(), .body = ""}).status();
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

}  // namespace

constinit const ScratchWays kQdrantScratch = {.place = CollectionLike, .make = Make, .remove = Remove};

}  // namespace reembed
