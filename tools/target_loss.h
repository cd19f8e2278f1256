// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TARGET_LOSS_H_
#define REEMBED_TOOLS_TARGET_LOSS_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "engine/vector_reader.h"
#include "index/output_loss.h"
#include "io/job/job_reader.h"
#include "tools/registry.h"

namespace reembed {

// What a search loses in a target whose vectors take less room than the job's: measured on some rows, evenly spread
// over all that both have. nullopt: they take as much, the job keeps none, or there are fewer than two.
absl::StatusOr<std::optional<OutputLoss>> LossOfTarget(const JobReader& job, const Store& target, VectorReader* reader,
                                                       absl::FunctionRef<bool(int64_t ordinal)> left_out);

}  // namespace reembed

#endif  // REEMBED_TOOLS_TARGET_LOSS_H_
