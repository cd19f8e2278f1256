// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_JOB_VECTORS_H_
#define REEMBED_IO_JOB_JOB_VECTORS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/vector_reader.h"
#include "io/job/job_reader.h"

namespace reembed {

// The vectors that a job keeps, a row for each of its rows that has one, in the order of the source. Rows with the same
// text have the same vector.
// Errors: kFailedPrecondition (the job keeps no vectors).
absl::StatusOr<std::unique_ptr<VectorReader>> OpenJobVectors(std::unique_ptr<JobReader> job, const std::string& dir);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_JOB_VECTORS_H_
