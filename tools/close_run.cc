// SPDX-License-Identifier: Apache-2.0
#include "tools/close_run.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "tools/endpoints.h"
#include "tools/recount.h"
#include "tools/reject_file.h"
#include "tools/take_stock.h"
#include "tools/target_comparison.h"
#include "tools/target_state.h"

namespace reembed {
namespace {

// The last word has the table itself: are there rows that lack a vector, and are not rejected?
absl::Status CountAgain(const ResolvedJob& job, JobStore* store, RunOutcome* outcome) {
  if (!job.in_place || !outcome->status.ok()) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const Recount recount,
                        RecountTable(job, outcome->after.rejected_rows + outcome->after.refused_rows, store));
  outcome->table_rows = recount.rows;
  outcome->table_rows_with_vector = recount.rows_with_vector;
  outcome->hidden = recount.hidden;
  outcome->rows_emptied = recount.rows_emptied;
  outcome->rows_unaccounted = recount.rows_emptied + recount.rows_added;
  outcome->unaccounted = RecountMessage(job, recount);
  if (recount.rows_emptied == 0 || job.keep_vectors != KeepVectors::kAlways) return absl::OkStatus();
  // The next run writes them again from what is kept. A position that is lower already stays.
  const std::string sink = job.targets.front().location.ToString();
  ABSL_ASSIGN_OR_RETURN(const SinkPosition position, store->Position(sink));
  if (position.position > recount.first_emptied) store->SavePosition(sink, recount.first_emptied);
  return store->Sync();
}

// Where nobody can promise that this job was alone, or that a server still has what it took, what the job has written
// is looked at: vectors of two jobs in one column never end as if all were well.
absl::Status ReadBackUnlocked(const Prepared& prepared, RunOutcome* outcome) {
  const ResolvedJob& job = prepared.job;
  if (!outcome->status.ok()) return absl::OkStatus();
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const Store& target = job.targets[i];
    const TargetLock* const lock = prepared.columns[i];
    // An earlier run's rows may be lost, too. Those of the own table that hold none are the last count's affair, and
    // where there is no lock they may have been deleted.
    const bool forgot = outcome->servings > 1;
    const ReadBackDoubt doubt = {.forgot = forgot,
                                 .counts_missing = (forgot || lock != nullptr) && !(job.in_place && i == 0)};
    if (!target.kind->is_table() || (lock != nullptr && lock->unbroken() && !forgot)) continue;
    int64_t from = 0, to = 0;
    for (const auto& [sink, reached] : prepared.before.sinks) {
      if (IsNameOf(sink, target.location) && outcome->run.rows_changed == 0 && !forgot) from = reached;
    }
    for (const auto& [sink, reached] : outcome->after.sinks) {
      if (IsNameOf(sink, target.location)) to = reached;
    }
    if (from >= to) continue;  // it has written nothing
    ABSL_ASSIGN_OR_RETURN(const ReadBack read, ReadTargetBack(job.directory, target, from, doubt));
    outcome->rows_foreign += read.foreign;
    if (read.told && read.foreign == 0) continue;
    if (outcome->foreign.empty()) outcome->foreign = ReadBackMessage(target, job.directory, read, doubt);
  }
  return absl::OkStatus();
}

// Runs that were killed have no receipt; the next one that ends says what they may have cost.
int64_t ReboughtSinceLastReceipt(const RunOutcome& outcome) {
  int64_t texts = outcome.after.texts_possibly_rebought - outcome.run.client.texts_dropped;
  for (const Receipt& receipt : outcome.before.receipts) texts -= receipt.rows_possibly_rebought;
  return std::max<int64_t>(0, texts);
}

}  // namespace

Receipt ReceiptOf(const JobStore& store, absl::Time started, const RunOutcome& outcome) {
  return {.run = store.run(),
          .started = started,
          .ended = started + outcome.run.elapsed,  // whatever became of the clock meanwhile
          .outcome = OutcomeWord(outcome.status),
          .requests = outcome.run.client.requests,
          .requests_retried = outcome.run.client.requests_retried,
          .http_429 = outcome.run.client.http_429,
          .tokens = outcome.run.client.tokens,
          .cost_usd = outcome.run.cost_usd,
          .rows_embedded = outcome.run.rows_new(),
          .rows_rejected = outcome.run.now.rows_rejected,
          .rows_possibly_rebought = ReboughtSinceLastReceipt(outcome),
          .switched = outcome.switched,
          .endpoints = EndpointsJson(outcome.run.endpoints)};
}

void CloseStream(Prepared* prepared, absl::Time started, Spending* spending, RunOutcome* outcome) {
  if (absl::Status counted = CountAgain(prepared->job, prepared->store.get(), outcome); !counted.ok()) {
    outcome->status = counted;
  }
  if (absl::Status read = ReadBackUnlocked(*prepared, outcome); !read.ok()) outcome->status = read;
  outcome->unknown_model_rows = prepared->unknown.rows;
  outcome->unknown_model_job = prepared->unknown.other;
  outcome->sample = prepared->sample;
  // A store that failed to write is silent about them; `status` reads it anew.
  absl::StatusOr<std::vector<RejectedRow>> rejects = prepared->store->ListRejects(kRejectsNamed);
  if (rejects.ok()) outcome->rejects = *std::move(rejects);
  const absl::Status released =
      ReleaseTargets(prepared->job, outcome->status.ok() ? outcome->after.rows : -1, prepared->locks);
  if (outcome->status.ok()) outcome->status = released;
  outcome->targets = TargetStatesOf(prepared->job, outcome->after);
  if (outcome->rows_emptied > 0 && !outcome->targets.empty()) {
    // What somebody has emptied is in the target no more, however far it was written.
    TargetState& own = outcome->targets.front();
    own.kind = TargetState::Kind::kPartial;
    own.rows = outcome->table_rows_with_vector;
    own.of = outcome->table_rows;
  }
  absl::Status recorded = prepared->store->RecordReceipt(ReceiptOf(*prepared->store, started, *outcome));
  if (recorded.ok()) recorded = WriteRejectFile(prepared->job.directory, prepared->store.get());
  if (recorded.ok()) recorded = spending->Close(prepared->store.get());
  if (outcome->status.ok()) outcome->status = recorded;
  outcome->run.spent_usd = spending->spent_usd();  // what was in the air is settled by now
}

}  // namespace reembed
