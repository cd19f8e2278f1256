// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_EXECUTE_RUN_H_
#define REEMBED_TOOLS_EXECUTE_RUN_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "tools/prepare_run.h"
#include "tools/run_summary.h"
#include "tools/signals.h"
#include "tools/take_stock.h"
#include "tools/token_counting.h"

namespace reembed {

// The work of a prepared job: embeds its rows and those that change meanwhile, publishes the targets, and shows
// progress. Targets whose server has lost acknowledged writes are filled again. Returns early after a signal, and at
// the first failure, which is in the outcome. `running`: what BeginRunning() has started. `keep_receipt` stores the
// receipt in the ledger; called only where the job also records the run in its memory system (--record).
RunOutcome ExecuteRun(Prepared* prepared, TokenCounting* counting, StopSignals* signals, Running* running,
                      absl::FunctionRef<absl::Status(const RunOutcome&)> keep_receipt);

}  // namespace reembed

#endif  // REEMBED_TOOLS_EXECUTE_RUN_H_
