// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_SYSTEM_AUTOMEM_ROWS_H_
#define REEMBED_IO_SYSTEM_AUTOMEM_ROWS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/location.h"
#include "engine/source.h"
#include "engine/survey.h"
#include "io/store/falkordb/falkordb_source.h"
#include "io/store/qdrant/qdrant_client.h"

// AutoMem has its memories as nodes of a FalkorDB graph and their vectors as points of a Qdrant collection; a node and
// its point have one id, which is a UUID.
namespace reembed {

// What a location `automem://[user@]host[:port]/graph?points=qdrant:URL&...` asks for.
//   points           the collection, as a location of its own (required)
//   label, key, text, where   as of falkordb:; by default Memory, id, content
struct AutomemLocation {
  Location nodes;   // falkordb:
  Location points;  // qdrant:
};

// Errors: kInvalidArgument.
absl::StatusOr<AutomemLocation> ParseAutomemLocation(const Location& location);

// How to get into both servers. A location has it as its secret: the graph's password, a line feed, Qdrant's key.
struct AutomemLogin {
  FalkorOptions graph;
  QdrantOptions points;
};
std::string AutomemSecret(absl::string_view graph_password, absl::string_view qdrant_key);
AutomemLogin AutomemLoginOf(const Location& location);

// Whether `target` is the collection of the points of `source`, which may be of any scheme.
bool HoldsAutomemPoints(const Location& source, const Location& target);

// The memories in the order of their ids. kWithoutVector: those whose point is not there or has no vector, one of
// another width, or the placeholder that AutoMem stores when its API fails (see automem_placeholder.h). Then the
// vectors of all points are read on the way. Errors: as OpenFalkorSource, OpenQdrantReader; Next: kFailedPrecondition
// (an id that is no UUID).
absl::StatusOr<std::unique_ptr<Source>> OpenAutomemSource(const Location& location, const Selection& selection,
                                                          const AutomemLogin& login);

// What the points hold for the selected memories; its remarks count placeholders, and points that lack what the server
// searches by. Orphans are counted where all memories are selected.
// Errors: as OpenAutomemSource; kFailedPrecondition (ids that are no UUIDs: names the first, and how to leave them
// out).
absl::StatusOr<Survey> SurveyAutomem(const Location& location, const Selection& selection, const AutomemLogin& login);

}  // namespace reembed

#endif  // REEMBED_IO_SYSTEM_AUTOMEM_ROWS_H_
