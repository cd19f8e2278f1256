// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_EXACT_NEIGHBORS_H_
#define REEMBED_INDEX_EXACT_NEIGHBORS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/index_spec.h"

namespace reembed {

// The rows nearest to each of some queries, nearest first.
struct Neighbors {
  int k = 0;
  std::vector<int64_t> rows;  // [queries, k]: places in the matrix; -1: there are fewer rows
  std::vector<float> scores;  // [queries, k]: as at Metric
};

struct ExactSearch {
  Metric metric = Metric::kCosine;
  int k = 10;
  int threads = 0;  // 0: one per core
  // [queries] or empty: a row that is not to be found, as it is the query itself; -1: none.
  absl::Span<const int64_t> excluded = {};
  std::function<void(int64_t done)> progress;  // of queries times rows; from any of the threads; may be null
};

// Brute force over `rows` [n, dim] for `queries` [m, dim]: candidates by blocks of matrix products, the scores of those
// that are left in double. Of equally near rows the earlier comes first. Neither side need be of unit length for
// cosine; rows without a direction are passed over then. Errors: kInvalidArgument (widths that do not fit, k < 1),
// kResourceExhausted (memory).
absl::StatusOr<Neighbors> FindExactNeighbors(absl::Span<const float> rows, absl::Span<const float> queries, int dim,
                                             const ExactSearch& search);

}  // namespace reembed

#endif  // REEMBED_INDEX_EXACT_NEIGHBORS_H_
