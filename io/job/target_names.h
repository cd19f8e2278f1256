// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_TARGET_NAMES_H_
#define REEMBED_IO_JOB_TARGET_NAMES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace reembed {

// Gives what the ledger in `dir`, if there is one, has under an older version's name of one of these targets, with a
// relative path, the target's own name. Takes the job's lock. Errors: kAborted (a run is at work), as OpenLedger().
absl::Status AdoptTargetNames(const std::string& dir, absl::Span<const std::string> targets);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_TARGET_NAMES_H_
