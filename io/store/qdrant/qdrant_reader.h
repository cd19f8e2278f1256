// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_QDRANT_QDRANT_READER_H_
#define REEMBED_IO_STORE_QDRANT_QDRANT_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/vector_reader.h"
#include "io/store/qdrant/qdrant_client.h"

namespace reembed {

// Reads the vectors of a collection back, in the order of the ids; see QdrantLocation. Points without the vector are
// passed over. A Cosine collection holds vectors of length 1, whatever it was given, and Round() does to a vector what
// it does: the direction is the same, the last bits may differ.
// `dim`: expected width, 0: what the collection has.
// Errors: of QdrantClient; kNotFound (collection, vector), kFailedPrecondition (another width).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenQdrantReader(const Location& location, int dim,
                                                               const QdrantOptions& options);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_QDRANT_QDRANT_READER_H_
