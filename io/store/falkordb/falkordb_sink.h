// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_SINK_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_SINK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"
#include "io/store/falkordb/falkordb_graph.h"

namespace reembed {

// Writes vectors into one property of the nodes of a label, found by key, and the model's name into another if the
// location names one. Nothing else of a node changes, and none is made. A node that is gone is refused with kNotFound.
//
// Open() makes a range index on the key if there is none: without it every node would be searched for each row.
// index=cosine|euclidean: Publish() makes a vector index if there is none, and waits until it is filled.
//
// What the server keeps after a crash is for its settings to say. With an append-only file Flush() waits for its disk;
// without one, a job that was interrupted writes all its vectors again, which costs no purchase.
//
// Errors: as OpenFalkorNodes; kFailedPrecondition (a vector index of another width; names the statement to run).
absl::StatusOr<std::unique_ptr<VectorSink>> MakeFalkorSink(const Location& location, const Model& model,
                                                           const FalkorOptions& options = {});

// What Prepare() and Publish() will change besides vectors, one line each; for people. Reads only.
absl::StatusOr<std::vector<std::string>> FalkorChanges(const Location& location, const Model& model,
                                                       const FalkorOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_SINK_H_
