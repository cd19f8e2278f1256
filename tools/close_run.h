// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_CLOSE_RUN_H_
#define REEMBED_TOOLS_CLOSE_RUN_H_

#include "absl/time/time.h"
#include "io/job/job_records.h"
#include "io/job/job_store.h"
#include "tools/prepare_run.h"
#include "tools/run_summary.h"
#include "tools/spending.h"

// How the run of a stream ends: the last word has the table itself.
namespace reembed {

// The last count, the receipt, and what there is to name. The receipt is in the ledger when it returns.
void CloseStream(Prepared* prepared, absl::Time started, Spending* spending, RunOutcome* outcome);

// What the run that began then has done and cost so far.
Receipt ReceiptOf(const JobStore& store, absl::Time started, const RunOutcome& outcome);

}  // namespace reembed

#endif  // REEMBED_TOOLS_CLOSE_RUN_H_
