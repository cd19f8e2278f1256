// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_FINAL_LOOK_H_
#define REEMBED_TOOLS_FINAL_LOOK_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "engine/run_counters.h"
#include "engine/run_watch.h"
#include "tools/prepare_run.h"

namespace reembed {

// The store is in use while a run goes on: rows that got another text since they were read, and rows that came, are
// embedded too, until a look at the source finds none. That look is the only one that sees an edit between the reading
// of a row and the writing of its vector, whatever the target. `embed`: runs the pipeline over what `prepared` has.
absl::Status EmbedWhatChanged(Prepared* prepared, const RunCounters& counters, absl::FunctionRef<absl::Status()> embed,
                              RunWatch* watch);

}  // namespace reembed

#endif  // REEMBED_TOOLS_FINAL_LOOK_H_
