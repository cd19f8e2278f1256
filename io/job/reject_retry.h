// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_REJECT_RETRY_H_
#define REEMBED_IO_JOB_REJECT_RETRY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace reembed {

// What TakeBackRejects() took back.
struct RejectRetry {
  int64_t rejected_rows = 0;  // that no target gets
  int64_t refused_rows = 0;   // row and target pairs: that only this target refused
};

// Forgets that rows were rejected, so that the job's next run tries them again: those rows alone have nothing that was
// kept for them. Targets are served again from the first such row on, from what was kept. One transaction.
// Errors: kAborted (a run holds the job); as OpenLedgerReadOnly.
absl::StatusOr<RejectRetry> TakeBackRejects(const std::string& dir);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_REJECT_RETRY_H_
