// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_OUTPUT_LOSS_H_
#define REEMBED_INDEX_OUTPUT_LOSS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/index_spec.h"

namespace reembed {

// What a search loses where rows and queries have taken less room: of the nearest rows by the whole vectors, how many
// are nearest by the others, too. A row is not its own neighbour.
struct OutputLoss {
  int64_t rows = 0;     // that were looked among
  int64_t queries = 0;  // of them, as evenly spread as can be
  double recall_at_1 = 0;
  double recall_at_10 = 0;
};

// `whole` [n, dim] and `held` [n, held_dim] are the same rows. Whole ones are near by cosine, held ones by
// `held_metric`: of bits kL2 counts those that differ. Exact, by brute force. `threads` 0: one per core.
// Errors: kInvalidArgument (fewer than two rows; shapes that do not fit), kResourceExhausted (memory).
absl::StatusOr<OutputLoss> MeasureOutputLoss(absl::Span<const float> whole, int dim, absl::Span<const float> held,
                                             int held_dim, Metric held_metric, int64_t queries, int threads);

}  // namespace reembed

#endif  // REEMBED_INDEX_OUTPUT_LOSS_H_
