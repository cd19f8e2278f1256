// SPDX-License-Identifier: Apache-2.0
#include "tools/take_stock.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "engine/place_name.h"
#include "engine/selection.h"
#include "io/job/job_reader.h"
#include "io/job/target_record.h"
#include "tools/spending.h"

namespace reembed {
namespace {

// Rows that are still to do when the run ends early, also those that it has not read.
int64_t RowsLeft(const ResolvedJob& job, int64_t rows_selected, const RunCounters& counters, const JobStats& after) {
  const int64_t rejected = RejectedRows(after) + after.rows_gone;
  // Rows that lack a vector are selected in the first case, all rows of the job in the second.
  const bool lacking = job.in_place && job.selection.rows != Selection::Rows::kAll;
  const int64_t finished = (lacking ? counters.rows_done.load() : DoneRows(after)) + rejected;
  return std::max(rows_selected - finished, after.rows_pending);
}

// What the next run will count as possibly bought twice, if this one ends without closing its job.
int64_t TextsLost(const Prepared& prepared, const RunCounters& counters, const Stock& stock) {
  const int64_t selected = prepared.preflight.rows_selected;
  if (selected < 0) return stock.texts_in_flight;
  // Each text in flight belongs to a row that is still to do.
  const int64_t left = RowsLeft(prepared.job, selected, counters, stock.stats) + prepared.changed.rows_changed;
  return std::min(stock.texts_in_flight, left);
}

}  // namespace

Stock StockLeftOnDisk(const ResolvedJob& job, const JobStats& before) {
  const absl::StatusOr<std::unique_ptr<JobReader>> reader = JobReader::Open(job.directory);
  if (!reader.ok()) return {.stats = before};
  absl::StatusOr<JobStats> after = (*reader)->Stats();
  if (!after.ok()) return {.stats = before};
  return {.stats = *std::move(after), .texts_in_flight = (*reader)->TextsInFlight().value_or(0)};
}

Stock StockAfter(const ResolvedJob& job, JobStore* store, const JobStats& before) {
  absl::StatusOr<JobStats> after = store->Stats();
  if (!after.ok()) return StockLeftOnDisk(job, before);
  return {.stats = *std::move(after)};
}

std::vector<TargetState> TargetStatesOf(const ResolvedJob& job, const JobStats& stats) {
  const absl::StatusOr<TargetRecords> records = ReadTargetRecords(job.directory);
  return TargetStates(stats, records.ok() ? *records : TargetRecords(), TargetNames(job));
}

RunOutcome OutcomeBefore(const Prepared& prepared) {
  RunOutcome outcome{.before = prepared.before, .after = prepared.before};
  outcome.run.before = outcome.run.now = CountsOf(prepared.before);
  return outcome;
}

std::unique_ptr<Running> BeginRunning(const Prepared& prepared, RunningPool embedder, Spending* spending) {
  auto running = std::make_unique<Running>();
  running->embedder = std::move(embedder);
  RunWatch::Parts parts{.counters = &running->counters,
                        .client = running->embedder.client(),
                        .endpoints = [pool = running->embedder.pool.get()] { return pool->endpoints(); },
                        .ledger = prepared.store.get(),
                        .cap = spending->cap(),
                        .control = prepared.job.client.control,
                        .usd_per_token = UsdPerToken(prepared.job).value_or(0),
                        .scope = ScopeOf(prepared),
                        .begun = OutcomeBefore(prepared).run};
  if (spending->has_cap()) parts.max_spend_usd = spending->max_usd();
  parts.begun.client = prepared.probed;
  parts.begun.rows_changed = prepared.changed.rows_changed;
  parts.begun.texts_damaged = prepared.store->recovery().damaged_texts;
  running->watch = std::make_unique<RunWatch>(std::move(parts));
  return running;
}

void TakeStock(const Prepared& prepared, const Running& running, Stock stock, RunOutcome* outcome) {
  stock.stats.texts_possibly_rebought += TextsLost(prepared, running.counters, stock);
  outcome->after = std::move(stock.stats);
  RunSnapshot& run = outcome->run;
  run = running.watch->TakeAtOnce();
  run.now = CountsOf(outcome->after);
  const double seconds = absl::ToDoubleSeconds(run.elapsed);
  run.rows_per_second = seconds > 0 ? static_cast<double>(run.rows_new()) / seconds : 0;
  run.left = std::nullopt;
  run.rows_left = outcome->status.ok()
                      ? run.now.rows_pending
                      : RowsLeft(prepared.job, prepared.preflight.rows_selected, running.counters, outcome->after);
  outcome->in_place = prepared.job.in_place;
  outcome->may_hide_rows = prepared.job.source.kind->find_hidden_rows != nullptr;
}

RunScope ScopeOf(const Prepared& prepared) {
  const ResolvedJob& job = prepared.job;
  const JobStats& before = prepared.before;
  const int64_t selected = prepared.preflight.rows_selected;
  RunScope scope{.texts_per_request = job.pipeline.batch.max_texts};
  if (selected < 0) return scope;
  const int64_t rejected = RejectedRows(before) + before.rows_gone;
  const int64_t most_new = job.options.limit > 0 ? job.options.limit : selected;
  if (job.in_place && job.selection.rows != Selection::Rows::kAll) {
    // Rows are selected for what they lack, those that were rejected among them.
    scope.rows = std::min(std::max<int64_t>(0, selected - rejected), most_new) + prepared.changed.rows_changed;
    return scope;
  }
  // What all targets have is passed over.
  int64_t lowest = before.rows;
  for (const Store& target : job.targets) {
    int64_t position = 0;
    for (const auto& [sink, reached] : before.sinks) {
      if (IsNameOf(sink, target.location)) position = reached;
    }
    lowest = std::min(lowest, position);
  }
  scope.rows_before = std::max<int64_t>(0, lowest - prepared.changed.rows_changed);
  const int64_t known = before.rows - scope.rows_before;
  scope.rows = known + std::min(std::max<int64_t>(0, selected - before.rows), most_new);
  scope.rows_bought = std::clamp<int64_t>(known - before.rows_pending - before.rejected_rows, 0, scope.rows);
  return scope;
}

}  // namespace reembed
