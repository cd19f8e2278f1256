// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_READER_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/vector_reader.h"
#include "io/store/falkordb/falkordb_graph.h"

namespace reembed {

// Reads the vector property of the location's nodes back, in the order of their keys. Changes nothing.
// `dim`: expected width; 0: that of the first vector.
// Errors: as OpenFalkorNodes; kInvalidArgument (no `vector` in the location), kNotFound (no vector and no `dim`). Next,
// Find: kDataLoss (something that is no vector of that width).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenFalkorReader(const Location& location, int dim,
                                                               const FalkorOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_READER_H_
