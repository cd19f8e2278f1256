// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_SOURCE_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/selection.h"
#include "engine/source.h"
#include "engine/survey.h"
#include "io/store/qdrant/qdrant_client.h"

namespace reembed {

// The points of a collection, in the order of their ids, page by page; the text is a field of the payload. See
// QdrantLocation. A field that is not there, null or no string: the row has no text. kWithoutVector: points that lack
// the named vector; all, where it has another width than `dim`. kWithVector: the others.
// Errors: of QdrantClient, kInvalidArgument (a filter that Qdrant refuses, in its words), kNotFound (collection,
// vector, or no point has such a field; names the nearest). A selection from a key on is one, too: ids have no order of
// the user's.
absl::StatusOr<std::unique_ptr<Source>> OpenQdrantSource(const Location& location, const Selection& selection,
                                                         const QdrantOptions& options);

// What the points hold as the vector that the location names. Errors: as OpenQdrantSource.
absl::StatusOr<Survey> SurveyQdrant(const Location& location, const Selection& selection, const QdrantOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_SOURCE_H_
