// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_OPEN_AGAIN_H_
#define REEMBED_TOOLS_OPEN_AGAIN_H_

#include "absl/status/status.h"
#include "engine/run_watch.h"
#include "tools/prepare_run.h"
#include "tools/run_summary.h"

namespace reembed {

// Source and targets once more, for another walk of the pipeline. Errors: as of the preflight, and of the claims.
absl::Status OpenAgain(Prepared* prepared);

// After a walk that ended because a target may have lost what it had (engine/lost_writes.h): opens all anew, so that
// the next one serves it from the row that it asks for. What is bought is in the job already. Errors: `lost`, where
// there can be no other walk.
absl::Status ServeAgain(const absl::Status& lost, Prepared* prepared, RunWatch* watch, RunOutcome* outcome);

}  // namespace reembed

#endif  // REEMBED_TOOLS_OPEN_AGAIN_H_
