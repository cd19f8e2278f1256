// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_SIDE_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_SIDE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/store/qdrant/qdrant_client.h"
#include "io/store/qdrant/qdrant_collection.h"

namespace reembed {

// How a collection C gets vectors of another width, N instead of M. A collection `C__reembed_N` is filled beside it,
// each point with its payload and its other vectors from C. Then
//   where C is an alias: the alias is moved to it, in one step;
//   else, for programs that look for C in the list of collections: C is copied to `C__before_M`, removed, made again
//   with the new width, and filled from `C__reembed_N`, which then goes. A crash on the way is taken up where it was,
//   as the names that are there tell it: C is removed only when its copy is complete.
// What C was stays in `C__before_M` (or in the collection that the alias meant) unless keep_old=no.
struct QdrantSide {
  std::string alias;      // what the user said, if that is an alias; else empty
  std::string real;       // C, or what the alias means
  std::string side;       // C__reembed_N
  std::string before;     // C__before_M; empty for aliases
  std::string base;       // where the payloads are: `real`, or `before` once `real` has gone
  QdrantCollection like;  // what `base` is
  std::string vector;     // name of the vector that changes
  int dim = 0;            // N
  bool side_is_there = false;
};

// Where things stand. `found`: the collection C as it is, if it is. nullopt: C has the width, and no switch is under
// way. Errors: kAlreadyExists (`C__before_M` is there from an earlier change), kUnimplemented (sparse vectors),
// kNotFound, of QdrantClient.
absl::StatusOr<std::optional<QdrantSide>> FindQdrantSide(QdrantClient* client, const QdrantLocation& asked,
                                                         const std::optional<QdrantCollection>& found, int dim);

// Makes the side collection, with the settings and payload indexes of C, and without a graph.
absl::Status MakeQdrantSide(QdrantClient* client, const QdrantSide& side);

// Puts it in the place of C, as above.
absl::Status SwitchQdrantSide(QdrantClient* client, const QdrantSide& side, bool keep_old);

// The way back: what SwitchQdrantSide() replaced is in its place again, by the same steps in reverse, and C as it was
// in between is `C__reembed_N`, where the next switch finds it. Of `side` all that names and `dim` are looked at;
// `old_dim`: M. A crash on the way is taken up where it was, also one of SwitchQdrantSide(). False: there was nothing
// to do. Errors: kFailedPrecondition (what was replaced is gone, or somebody changed what the names mean since).
absl::StatusOr<bool> SwitchQdrantSideBack(QdrantClient* client, const QdrantSide& side, int old_dim);

// The collection with the rows of C: C itself, or its copy while a switch was interrupted that has removed C.
// Errors: kNotFound (names what is nearest).
absl::StatusOr<std::string> QdrantRowsOf(QdrantClient* client, const QdrantLocation& asked);

// {"m":16} and the like for a PATCH of a collection whose graph was left out so far.
absl::Status BuildQdrantGraph(QdrantClient* client, const std::string& collection, int m);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_SIDE_H_
