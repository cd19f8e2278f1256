// SPDX-License-Identifier: Apache-2.0
#include "index/output_loss.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "index/exact_neighbors.h"

namespace reembed {
namespace {

constexpr int kNearest = 10;

absl::StatusOr<Neighbors> NeighborsOf(absl::Span<const float> rows, int dim, Metric metric,
                                      absl::Span<const int64_t> asked, int k, int threads) {
  std::vector<float> queries;
  for (const int64_t row : asked) {
    const auto vector = rows.subspan(static_cast<size_t>(row) * dim, static_cast<size_t>(dim));
    queries.insert(queries.end(), vector.begin(), vector.end());
  }
  return FindExactNeighbors(rows, queries, dim, {.metric = metric, .k = k, .threads = threads, .excluded = asked});
}

}  // namespace

absl::StatusOr<OutputLoss> MeasureOutputLoss(absl::Span<const float> whole, int dim, absl::Span<const float> held,
                                             int held_dim, Metric held_metric, int64_t queries, int threads) {
  const int64_t rows = dim < 1 ? 0 : static_cast<int64_t>(whole.size()) / dim;
  if (rows < 2 || queries < 1 || static_cast<int64_t>(held.size()) != rows * held_dim) {
    return absl::InvalidArgumentError(absl::StrCat("output loss: expected two rows or more, and as many of both, got ",
                                                   whole.size(), " numbers in rows of ", dim, " and ", held.size(),
                                                   " in rows of ", held_dim));
  }
  OutputLoss loss{.rows = rows, .queries = std::min(queries, rows)};
  std::vector<int64_t> asked;
  for (int64_t i = 0; i < loss.queries; ++i) asked.push_back(i * rows / loss.queries);
  const int k = static_cast<int>(std::min<int64_t>(kNearest, rows - 1));
  ABSL_ASSIGN_OR_RETURN(const Neighbors truth, NeighborsOf(whole, dim, Metric::kCosine, asked, k, threads));
  ABSL_ASSIGN_OR_RETURN(const Neighbors found, NeighborsOf(held, held_dim, held_metric, asked, k, threads));
  int64_t first = 0, all = 0;
  for (int64_t query = 0; query < loss.queries; ++query) {
    const auto nearest =
        absl::MakeConstSpan(truth.rows).subspan(static_cast<size_t>(query * k), static_cast<size_t>(k));
    const auto got = absl::MakeConstSpan(found.rows).subspan(static_cast<size_t>(query * k), static_cast<size_t>(k));
    if (nearest[0] == got[0]) ++first;
    for (const int64_t row : got) all += std::count(nearest.begin(), nearest.end(), row);
  }
  loss.recall_at_1 = static_cast<double>(first) / static_cast<double>(loss.queries);
  loss.recall_at_10 = static_cast<double>(all) / static_cast<double>(loss.queries * k);
  return loss;
}

}  // namespace reembed
