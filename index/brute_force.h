// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_BRUTE_FORCE_H_
#define REEMBED_INDEX_BRUTE_FORCE_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/vector_reader.h"
#include "index/hit.h"
#include "index/index_spec.h"

namespace reembed {

// The `k` rows nearest to `query` [dim] among all that `reader` still gives: exact, one pass, memory for k hits only.
// Neither side need be of unit length for cosine. Rows without a direction are passed over for cosine; rows that are
// not finite always. Of equally near rows the earlier wins. Scores as at Metric. SIMD, chosen at run time.
// Errors: kInvalidArgument (another width, no direction, k < 1), and those of the reader.
absl::StatusOr<std::vector<Hit>> SearchExactly(VectorReader* reader, absl::Span<const float> query, int k,
                                               Metric metric);

// The score of one row, summed in double, as SearchExactly() has it; nullopt: the row has none. For cosine `query` is
// of unit length, or all scores are in proportion.
std::optional<double> ExactScore(absl::Span<const float> query, absl::Span<const float> row, Metric metric);

}  // namespace reembed

#endif  // REEMBED_INDEX_BRUTE_FORCE_H_
