// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_INDEX_TRAINING_H_
#define REEMBED_INDEX_INDEX_TRAINING_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace faiss {
struct Index;
}  // namespace faiss

// How an index is fitted to a sample of its rows, whether a build or a run makes it.
namespace reembed {

// Errors: kInvalidArgument (fewer rows than the resolved factory can be trained on: says how many it takes).
absl::Status CheckTrainingRows(absl::string_view path, absl::string_view factory, int64_t rows);

// Trains `index`, made with `factory`, on `rows` [n, dim]. Errors: kFailedPrecondition (too few, and FAISS's own).
absl::Status TrainIndex(absl::string_view path, absl::string_view factory, absl::Span<const float> rows,
                        faiss::Index* index);

}  // namespace reembed

#endif  // REEMBED_INDEX_INDEX_TRAINING_H_
