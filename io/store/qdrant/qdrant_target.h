// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_TARGET_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_TARGET_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/overwriting.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_collection.h"
#include "io/store/qdrant/qdrant_side.h"

namespace reembed {

// What a location names as a target, as the server has it. Whoever looks again sees what has changed since.
struct QdrantTarget {
  QdrantLocation asked;
  std::unique_ptr<QdrantClient> client;
  Model model;
  std::optional<QdrantCollection> collection;  // nullopt: it will be made
  bool add_vector = false;                     // the named vector will be added
  std::optional<QdrantSide> side;              // the shadow collection that rows go to
  std::string rows;                            // the name of the collection that rows go to
};

// Connects and looks. Changes nothing. Errors: as LookAtQdrantTarget().
absl::StatusOr<QdrantTarget> OpenQdrantTarget(const Location& location, const Model& model,
                                              const QdrantOptions& options);

// Sets collection, add_vector, side and rows to what the server has now. Errors: of QdrantClient, kFailedPrecondition
// (another width; names the way out), kNotFound (the vector, or a collection while one with a similar name exists).
absl::Status LookAtQdrantTarget(QdrantTarget* target);

// Whether the API key may write to the collection: asks the server to remove none of its points.
absl::Status CheckMayWriteQdrant(QdrantClient* client, const QdrantLocation& asked);

// What the sink's Prepare() and Publish() will change besides vectors, one line each, for people; reads only.
absl::StatusOr<std::vector<std::string>> QdrantChanges(const Location& location, const Model& model,
                                                       const QdrantOptions& options);

// What a run will do to the vectors of the collection; reads only.
absl::StatusOr<Overwriting> QdrantOverwriting(const Location& location, const Model& model,
                                              const QdrantOptions& options);

// Whether both name the same collection of the same server.
bool IsSameQdrantCollection(const Location& a, const Location& b);

// Whether points of the target can have this key; kInvalidArgument says why not and what to do.
absl::Status CheckQdrantKey(const Location& target, KeyView key);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_TARGET_H_
