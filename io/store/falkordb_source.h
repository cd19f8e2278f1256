#ifndef REEMBED_IO_STORE_FALKORDB_SOURCE_H_
#define REEMBED_IO_STORE_FALKORDB_SOURCE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/location.h"
#include "engine/source.h"
#include "engine/survey.h"
#include "io/store/falkordb_graph.h"

namespace reembed {

// Which nodes of the location's label are selected, besides those its own `where` leaves out.
struct FalkorSelection {
  // kWithoutVector: all, if no node has the property yet. kWithVector: the others
  enum class Rows { kAll, kWithoutVector, kWithVector };
  Rows rows = Rows::kAll;
  int dim = 0;              // width of a valid vector
  std::string where;        // Cypher condition over `n`
  std::string resume_from;  // the first node has this key, or the first one behind it; empty: from the start
};

// The nodes of one label in the order of their keys, by queries that the server lets change nothing (GRAPH.RO_QUERY).
// A text property that is no text is an absent text.
// Errors: as OpenFalkorNodes; kFailedPrecondition (kWithoutVector, but some vectors have another width: Cypher cannot
// tell which).
absl::StatusOr<std::unique_ptr<Source>> OpenFalkorSource(const Location& location, const FalkorSelection& selection,
                                                         const FalkorOptions& options = {});

// What the nodes hold now. Reads only; reads every vector if they are not all `dim` wide.
absl::StatusOr<Survey> SurveyFalkor(const Location& location, const FalkorSelection& selection,
                                    const FalkorOptions& options = {});

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_SOURCE_H_
