// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_SOURCE_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/selection.h"
#include "engine/source.h"
#include "engine/survey.h"
#include "io/store/falkordb/falkordb_graph.h"

namespace reembed {

// The nodes of one label in the order of their keys, by queries that the server lets change nothing (GRAPH.RO_QUERY).
// A text property that is no text is an absent text.
// Errors: as OpenFalkorNodes; kFailedPrecondition (kWithoutVector, but some vectors have another width: Cypher cannot
// tell which).
absl::StatusOr<std::unique_ptr<Source>> OpenFalkorSource(const Location& location, const Selection& selection,
                                                         const FalkorOptions& options = {});

// What the nodes hold now. Reads only; reads every vector if they are not all `dim` wide.
absl::StatusOr<Survey> SurveyFalkor(const Location& location, const Selection& selection,
                                    const FalkorOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_SOURCE_H_
