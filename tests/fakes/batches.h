// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_BATCHES_H_
#define REEMBED_TESTS_FAKES_BATCHES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/batch.h"
#include "engine/key.h"

namespace reembed {

// A batch as the sinks get it: row i has ordinal first_ordinal + i, keys[i], and row i of the row-major matrix
// `vectors` [keys.size(), dim].
std::unique_ptr<Batch> MakeBatch(int64_t first_ordinal, absl::Span<const Key> keys, absl::Span<const float> vectors,
                                 int dim);

// The integers first, first + 1, ..., as keys.
std::vector<Key> NumberKeys(int64_t first, int64_t count);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_BATCHES_H_
