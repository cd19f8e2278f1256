// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_cut.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_nodes.h"

namespace reembed {

absl::StatusOr<std::vector<Key>> CutFalkor(const Location& location, int shares, const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorLocation asked, ParseFalkorLocation(location, options));
  ABSL_ASSIGN_OR_RETURN(const FalkorNodes nodes, OpenFalkorNodes(std::move(asked), "", options.patience));
  std::vector<int64_t> numbers;
  for (int share = 1; share < shares; ++share) {
    numbers.push_back(static_cast<int64_t>(static_cast<double>(nodes.rows) * share / shares));
  }
  std::vector<Key> cuts;
  if (nodes.rows > 0 && !numbers.empty()) {
    ABSL_RETURN_IF_ERROR(nodes.graph->client()->Persist([&]() -> absl::Status {
      ABSL_ASSIGN_OR_RETURN(const FalkorRows rows, nodes.graph->Query(absl::StrCat(
                                                       nodes.Match(), " WHERE ", nodes.where, " WITH ", nodes.Key(),
                                                       " AS k ORDER BY k WITH collect(k) AS ks RETURN [i IN [",
                                                       absl::StrJoin(numbers, ","), "] | ks[i]]")));
      cuts.clear();
      if (rows.size() != 1) return absl::OkStatus();
      const FalkorCell list = rows(0, 0);
      for (size_t i = 0; i < list.size(); ++i) {
        const FalkorCell key = list[i];
        if (key.type() == FalkorCell::Type::kInteger) cuts.emplace_back(key.Integer());
        if (key.type() == FalkorCell::Type::kText) cuts.emplace_back(std::string(key.Text()));
      }
      return absl::OkStatus();
    }));
  }
  // Of nodes that went meanwhile.
  const Key last = cuts.empty() ? (nodes.integer_keys ? Key(int64_t{0}) : Key("")) : cuts.back();
  cuts.resize(numbers.size(), last);
  return cuts;
}

}  // namespace reembed
