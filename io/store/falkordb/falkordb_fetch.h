// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_FETCH_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_FETCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/key.h"
#include "engine/location.h"
#include "io/store/falkordb/falkordb_nodes.h"

namespace reembed {

// The value of a property. monostate: null, absent, or of a type that is not listed (points, times).
struct FalkorValue {
  using List = std::vector<FalkorValue>;
  std::variant<std::monostate, bool, int64_t, double, std::string, List> value;

  bool IsNull() const { return std::holds_alternative<std::monostate>(value); }
};

// Some properties of one node, in the order in which they were asked for.
using FalkorProperties = std::vector<FalkorValue>;

// Reads properties of nodes by key, in batches, for targets that want more of a node than its text. Queries that the
// server lets change nothing. Used by one thread.
class FalkorFetch {
 public:
  // The location needs label and key. Errors: as OpenFalkorNodes.
  static absl::StatusOr<std::unique_ptr<FalkorFetch>> Open(const Location& location, const FalkorOptions& options = {});

  // One element per key: the values of the properties, nullopt if there is no such node. A property that no node has
  // is null. Some hundred keys per call are fast if the graph has an index on the key.
  // Errors: as RespClient; kInvalidArgument (a name with a backtick).
  absl::StatusOr<std::vector<std::optional<FalkorProperties>>> Fetch(absl::Span<const KeyView> keys,
                                                                     absl::Span<const std::string> properties);

  int64_t rows() const { return nodes_.rows; }

 private:
  explicit FalkorFetch(FalkorNodes nodes) : nodes_(std::move(nodes)) {}

  FalkorNodes nodes_;
};

// Shows each of these nodes that is there: its place in `keys`, and an answer with the row there in which the
// expressions, Cypher over the node `n`, are columns, from column 1 on. Looks at nodes whatever the location's `where`
// says.
absl::Status ForEachFalkorNode(const FalkorNodes& nodes, absl::Span<const KeyView> keys,
                               absl::Span<const std::string> expressions,
                               absl::FunctionRef<void(size_t place, const FalkorRows& answer, size_t row)> take);

// Which of the keys are those of nodes that are there. Looks at nodes whatever the location's `where` says.
absl::StatusOr<std::vector<bool>> FindFalkorKeys(const FalkorNodes& nodes, absl::Span<const KeyView> keys);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_FETCH_H_
