// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_NODES_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_NODES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "io/store/falkordb/falkordb_graph.h"

namespace reembed {

// The nodes that a location names, checked: the label and the properties are there, every selected node has a key, all
// keys are integers or all are texts, and none is there twice.
struct FalkorNodes {
  FalkorLocation asked;
  std::unique_ptr<FalkorGraph> graph;
  bool integer_keys = false;  // of no nodes: false
  bool index_orders = true;   // an index compares these keys as Cypher does, see ComparableKey()
  int64_t rows = 0;           // selected ones, when it was opened
  std::string where;          // of the location and of the selection; Cypher over `n`; "true": all

  std::string Match() const;  // MATCH (n:`label`)
  std::string Property(absl::string_view name) const { return "n." + FalkorName(name); }
  std::string Key() const { return Property(asked.key); }

  // The key for < and >. An index of the server compares texts without regard to case and in bytes with a sign, and
  // what it gives is not compared again: nodes would be missing. Of an expression it knows nothing, so the server looks
  // at all nodes. Seen with FalkorDB 4.16.3.
  std::string ComparableKey() const { return index_orders ? Key() : absl::StrCat(Key(), " + ''"); }

  // Cypher: the node has the key that the expression `value` gives. Keys that IsInFalkorIndex() knows are found by the
  // index and compared again, as it takes keys for equal that differ by blanks at their ends; for others the server
  // looks at all nodes of the label.
  std::string KeyIs(absl::string_view value, bool in_index) const;

  // On the nodes of the label, e.g. FOR (n:`Memory`) ON (n.`id`).
  std::string OnProperty(absl::string_view property) const;

  std::string Message(absl::string_view what) const { return graph->Message(what); }
};

// `where`: a further condition; empty: none.
// Errors: as FalkorGraph; kNotFound (no such label or property; names the nearest one), kInvalidArgument (a condition
// that is no Cypher), kFailedPrecondition (keys that are missing, twice there, or of another type).
absl::StatusOr<FalkorNodes> OpenFalkorNodes(FalkorLocation asked, absl::string_view where, absl::Duration patience);

// Errors: kNotFound (no node of the graph has ever had such a property; names the nearest one).
absl::Status CheckFalkorProperty(FalkorGraph* graph, absl::string_view parameter, absl::string_view name);
absl::StatusOr<std::vector<std::string>> FalkorPropertyNames(FalkorGraph* graph);

// Whether a node can have this key.
bool CanBeFalkorKey(const FalkorNodes& nodes, KeyView key);

// Whether an index finds the node with this key. It does not find empty and very long texts, those with blanks at their
// ends, and with the byte 1; and it finds nodes whose keys differ from the one asked for by such blanks.
bool IsInFalkorIndex(KeyView key);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_NODES_H_
