// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_SINK_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_SINK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/embedding_client.h"
#include "engine/key.h"
#include "engine/location.h"
#include "engine/vector_sink.h"
#include "io/store/qdrant/qdrant_client.h"

namespace reembed {

// What a system keeps in its points besides vectors.
class QdrantPayloads {
 public:
  virtual ~QdrantPayloads() = default;

  // Fields that get a keyword index where the collection is made.
  virtual std::vector<std::string> keyword_indexes() const = 0;

  // Of points that are put whole. *payloads[i]: in, that of the point with this key as a JSON object, empty if there is
  // none; out, what it becomes. One that is still empty has no row any more.
  virtual absl::Status Complete(absl::Span<const KeyView> keys, absl::Span<std::string* const> payloads) = 0;
};

// Gives the points of a Qdrant collection new vectors; see QdrantLocation for what a location may say. Nothing else of
// a point changes: payload and other vectors stay, since vectors are updated and points never replaced.
//
// Points that are not there: mode=upsert adds them, without payload (ids=uuid5: with the key) unless `payloads` has
//   one; mode=update refuses them with kNotFound. Keys that cannot be ids are refused with kInvalidArgument. So is, in
//   the server's words, a point that it does not take; while it has taken none at all that is the error of Write().
// A collection that is not there is made by Prepare(), with its graph left for Publish(); so is a named vector,
//   on servers that can (Qdrant 1.18).
// A collection whose vector has another width is refused, or with on_width=side replaced as QdrantSide says.
//
// Rows are durable when Write() returns. The same rows again change nothing.
// `same_as_source`: the rows come from this very collection. `payloads`: null, points get none.
// Errors: of QdrantClient, kFailedPrecondition (width; names the way out), kNotFound (vector, collection with a similar
// name), kUnimplemented (a vector name cannot be added on this server).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeQdrantSink(const Location& location, const Model& model,
                                                           bool same_as_source, const QdrantOptions& options,
                                                           std::unique_ptr<QdrantPayloads> payloads = nullptr);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_SINK_H_
