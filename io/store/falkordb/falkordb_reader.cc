// SPDX-License-Identifier: Apache-2.0
#include "io/store/falkordb/falkordb_reader.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/store/falkordb/falkordb_nodes.h"
#include "io/store/falkordb/falkordb_scan.h"

namespace reembed {
namespace {

class FalkorReader final : public VectorReader {
 public:
  FalkorReader(FalkorNodes nodes, const std::string& where, int64_t rows, int dim)
      : nodes_(std::move(nodes)),
        scan_(&nodes_, nodes_.asked.vector, where),
        rows_(rows),
        vector_(static_cast<size_t>(dim)) {}

  int dim() const override { return static_cast<int>(vector_.size()); }
  int64_t rows() const override { return rows_; }
  absl::StatusOr<std::optional<StoredVector>> Next() override { return Take(scan_.Next()); }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) override { return Take(scan_.Find(key)); }

 private:
  absl::StatusOr<std::optional<StoredVector>> Take(const absl::StatusOr<bool>& row) {
    ABSL_RETURN_IF_ERROR(row.status());
    if (!*row) return std::nullopt;
    const int64_t dim = scan_.cell().Vector(absl::MakeSpan(vector_));
    if (dim == static_cast<int64_t>(vector_.size())) return StoredVector{scan_.key(), vector_};
    return absl::DataLossError(nodes_.Message(
        absl::StrCat("row ", KeyText(scan_.key()), ": expected a vector of ", vector_.size(), " numbers, got ",
                     dim < 0 ? "something that is none" : absl::StrCat("one of ", dim))));
  }

  const FalkorNodes nodes_;
  FalkorScan scan_;
  const int64_t rows_;
  std::vector<float> vector_;  // [dim], of the current row
};

}  // namespace

absl::StatusOr<std::unique_ptr<VectorReader>> OpenFalkorReader(const Location& location, int dim,
                                                               const FalkorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(FalkorLocation asked, ParseFalkorLocation(location, options));
  if (asked.vector.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(asked.address.name, "/", asked.graph, ": no property of vectors; add &vector=NAME"));
  }
  ABSL_ASSIGN_OR_RETURN(FalkorNodes nodes, OpenFalkorNodes(std::move(asked), "", options.patience));
  ABSL_RETURN_IF_ERROR(CheckFalkorProperty(nodes.graph.get(), "vector", nodes.asked.vector));
  const std::string where = absl::StrCat(nodes.where, " AND ", nodes.Property(nodes.asked.vector), " IS NOT NULL");
  ABSL_ASSIGN_OR_RETURN(const int64_t rows,
                        nodes.graph->Count(absl::StrCat(nodes.Match(), " WHERE ", where, " RETURN count(n)")));
  if (dim == 0 && rows > 0) {
    ABSL_ASSIGN_OR_RETURN(const FalkorRows first,
                          nodes.graph->Query(absl::StrCat(nodes.Match(), " WHERE ", where, " RETURN ",
                                                          nodes.Property(nodes.asked.vector), " LIMIT 1")));
    if (first.size() == 1) dim = static_cast<int>((first)(0, 0).Vector({}));
  }
  if (dim <= 0) {
    return absl::NotFoundError(
        nodes.Message(absl::StrCat("no vector in `", nodes.asked.vector, "`; run the job first")));
  }
  return std::make_unique<FalkorReader>(std::move(nodes), where, rows, dim);
}

}  // namespace reembed
