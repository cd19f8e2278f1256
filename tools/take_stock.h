// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TAKE_STOCK_H_
#define REEMBED_TOOLS_TAKE_STOCK_H_

#include <memory>
#include <vector>

#include "engine/run_counters.h"
#include "engine/run_watch.h"
#include "io/job/job_records.h"
#include "io/job/job_store.h"
#include "tools/endpoints.h"
#include "tools/prepare_run.h"
#include "tools/run_summary.h"
#include "tools/spending.h"
#include "tools/target_state.h"

namespace reembed {

// What a stream works with while it runs, and counts.
struct Running {
  RunningPool embedder;
  RunCounters counters;
  std::unique_ptr<RunWatch> watch;  // of these, and last
};

// What this run will come to, as far as that is known before.
RunScope ScopeOf(const Prepared& prepared);

// The parts of the stream that begins now, and what makes its snapshots. `embedder` is the stream's own.
std::unique_ptr<Running> BeginRunning(const Prepared& prepared, RunningPool embedder, Spending* spending);

// Of a run that has done nothing yet.
RunOutcome OutcomeBefore(const Prepared& prepared);

// What a job holds, and what a run that is about to end without closing it may have in flight.
struct Stock {
  JobStats stats;
  int64_t texts_in_flight = 0;
};

// On disk, of a run that ends without closing the job.
Stock StockLeftOnDisk(const ResolvedJob& job, const JobStats& before);
// Of a run that closes the job. A store that failed to write says nothing any more: then, what is left on disk.
Stock StockAfter(const ResolvedJob& job, JobStore* store, const JobStats& before);

// What the run has done so far, when the job holds `stock`: its last snapshot, with what the ledger says.
void TakeStock(const Prepared& prepared, const Running& running, Stock stock, RunOutcome* outcome);

std::vector<TargetState> TargetStatesOf(const ResolvedJob& job, const JobStats& stats);

}  // namespace reembed

#endif  // REEMBED_TOOLS_TAKE_STOCK_H_
