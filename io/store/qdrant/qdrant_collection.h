// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_COLLECTION_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_COLLECTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/location.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_id.h"

namespace reembed {

// What a location says: qdrant:http://host:6333/collection, or qdrant:host:6333/collection. Parameters:
//   vector    name of the vector, where points have several; default: the only one, which has no name
//   text      payload field with the text, `a.b` for a field in a field; default `content` (sources)
//   filter    which points, as Qdrant's own JSON: {"must":[...]} (sources)
//   mode      update: points must be there; upsert: others are added. Default upsert, or update where the source is the
//             same collection (targets, as are all that follow)
//   ids       uuid5: the point's id is a UUID made of the key, and the key is kept in the payload; default: the key is
//             the id, an unsigned integer or a UUID
//   key       payload field of the key for ids=uuid5; default `key`
//   distance  of a collection that is made: Cosine (default), Dot, Euclid, Manhattan
//   create    yes, no, or (default) yes unless the name is nearly that of a collection which is there
//   on_width  refuse (default): a collection of another width is an error; side: see QdrantSide
//   snapshot  yes: the server makes a snapshot of the collection before the job changes anything; default no
//   keep_old  yes (default): what on_width=side replaces stays under another name; no: it goes at the end
struct QdrantLocation {
  enum class Mode { kDefault, kUpdate, kUpsert };
  enum class Create { kDefault, kYes, kNo };

  std::string url;  // without the collection and a slash at the end
  std::string collection;
  std::string vector;
  std::string text;
  std::string filter;  // empty: all
  Mode mode = Mode::kDefault;
  bool hashed_ids = false;
  std::string key;
  std::string distance;
  Create create = Create::kDefault;
  bool side = false;
  bool keep_old = true;
  bool snapshot = false;

  // For messages: the collection with its server.
  std::string Name() const;

  // "/collections/NAME" and what follows it.
  std::string Path(absl::string_view rest = "") const;

  // The id of the point with this key; nullopt: no point can have it.
  std::optional<QdrantId> IdOf(KeyView key) const;
};

// Errors: kInvalidArgument (says what it expected; a user or password in the address is refused).
absl::StatusOr<QdrantLocation> ParseQdrantLocation(const Location& location);

// What a server says of a collection.
struct QdrantCollection {
  struct Vector {
    std::string name;  // empty: the one without a name
    int dim = 0;
    std::string distance;
    std::string json;  // its whole configuration, as the server words it
  };
  std::vector<Vector> vectors;
  bool has_sparse = false;
  int hnsw_m = 16;          // links per point; 0: no graph is built
  std::string hnsw = "{}";  // the graph's whole configuration, as JSON
  int restore_m = 0;        // what this program left for later, as its own note in the metadata says; 0: nothing
  std::string status;
  int64_t points = 0;  // about
  // Members of `params`, and of the configuration, that a like collection needs, as JSON: {"shard_number", "2"}.
  std::vector<std::pair<std::string, std::string>> settings;
  // Indexes on the payload: field and its schema as JSON.
  std::vector<std::pair<std::string, std::string>> indexes;

  const Vector* Find(absl::string_view name) const;
};

// nullopt: there is no such collection. Errors: of QdrantClient, kDataLoss (not what Qdrant answers).
absl::StatusOr<std::optional<QdrantCollection>> GetQdrantCollection(QdrantClient* client, const std::string& name);

// Collections, without aliases.
absl::StatusOr<std::vector<std::string>> ListQdrantCollections(QdrantClient* client);

// The collection that an alias stands for; nullopt: it is no alias.
absl::StatusOr<std::optional<std::string>> ResolveQdrantAlias(QdrantClient* client, const std::string& name);

// "no collection `x`; did you mean `y`?", kNotFound; kAborted where the server lists it: it was made just now.
absl::Status NoQdrantCollection(QdrantClient* client, const QdrantLocation& asked);

// Exact number of points; `filter`: Qdrant's JSON, or empty.
absl::StatusOr<int64_t> CountQdrantPoints(QdrantClient* client, const std::string& collection,
                                          absl::string_view filter);

// The vector that the location means. Errors: kNotFound (names those that are there).
absl::StatusOr<QdrantCollection::Vector> FindQdrantVector(const QdrantCollection& collection,
                                                          const QdrantLocation& asked);

// The JSON object `json` without null members, and with the member `name` as `value` (JSON).
std::string QdrantJsonWith(absl::string_view json, absl::string_view name, absl::string_view value);

// One filter that is met where all of them are; empty ones do not count. Empty: all points.
std::string AllQdrantFilters(absl::Span<const std::string> filters);

// {"has_vector": name}: points that have it.
std::string HasQdrantVector(absl::string_view name);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_COLLECTION_H_
