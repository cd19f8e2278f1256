// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_CANARY_FILE_H_
#define REEMBED_IO_JOB_CANARY_FILE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace reembed {

// JOB/canary.f32: the vectors that the model gave the canary texts (engine/canary.h) when the job began, so that a
// later run notices when another model answers to the same name. Row-major [CanaryTexts().size(), dim] little-endian
// float32, then 16 bytes: HashText() of the texts, the low half first.

// The vectors [CanaryTexts().size(), dim]; empty: the job has none yet, or of other texts.
// Errors: those of reading; kFailedPrecondition (another width).
absl::StatusOr<std::vector<float>> ReadCanary(const std::string& job_directory, int dim);

// Durable when it returns. Errors: kResourceExhausted (disk full), and others of writing.
absl::Status WriteCanary(const std::string& job_directory, absl::Span<const float> vectors);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_CANARY_FILE_H_
