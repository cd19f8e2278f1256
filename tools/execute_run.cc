// SPDX-License-Identifier: Apache-2.0
#include "tools/execute_run.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "engine/lost_writes.h"
#include "engine/pipeline.h"
#include "engine/publish_targets.h"
#include "engine/status_macros.h"
#include "io/job/undo_store.h"
#include "tools/final_look.h"
#include "tools/open_again.h"
#include "tools/output.h"
#include "tools/preflight.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/recreate.h"
#include "tools/registry.h"
#include "tools/shard_parent.h"
#include "tools/target_files.h"

namespace reembed {
namespace {

// Which failure of a batch comes first is chance: others may have waited for the texts of one that money ended.
absl::Status WhatEndedIt(absl::Status status, const SpendCap* cap) {
  if (cap == nullptr || !(absl::IsCancelled(status) || absl::IsUnavailable(status))) return status;
  absl::Status reached = cap->Reached();
  return IsSpendCapReached(reached) ? reached : status;
}

// A job without rows does not come to the end of a sink. A table that has all its vectors gets the index that was asked
// for all the same, whoever wrote them, and files and arrays are made without rows; but nothing takes the place of what
// is there.
absl::Status FinishWithoutRows(const ResolvedJob& job, absl::Span<const NamedSink> sinks) {
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const bool own_table = job.in_place && i == 0;
    const bool is_file = !FilesOf(job.targets[i]).empty();
    if (!own_table && !is_file && !job.targets[i].kind->is_stream) continue;
    if (job.share.has_value()) {
      // Of a table others may have rows; its last step is that of all shares.
      if (is_file) {
        ABSL_RETURN_IF_ERROR(sinks[i].sink->Complete());
      }
      continue;
    }
    const StoreKind& kind = *job.targets[i].kind;
    if (kind.overwriting != nullptr) {
      ABSL_ASSIGN_OR_RETURN(const Overwriting overwriting, kind.overwriting(job.targets[i].location, job.client.model));
      if (overwriting.kind == Overwriting::Kind::kSwitch) continue;
    }
    ABSL_RETURN_IF_ERROR(CompleteAndPublish(sinks[i].sink, {.model = job.client.model, .undo = sinks[i].undo}));
  }
  return absl::OkStatus();
}

// Of each target; null: it keeps nothing of what it held before.
absl::StatusOr<std::vector<std::unique_ptr<UndoLog>>> UndoLogsOf(const ResolvedJob& job, UndoStore* undo) {
  std::vector<std::unique_ptr<UndoLog>> logs;
  for (const Store& target : job.targets) {
    logs.push_back(KeepsUndo(job, target) ? undo->LogOf(target.location.ToString()) : nullptr);
    ABSL_RETURN_IF_ERROR(LogRecreated(job, target, logs.back().get()));
  }
  return logs;
}

// All rows once, from the source into the targets as they are open now. `logs`: of the targets.
absl::Status WalkRows(const Prepared& prepared, absl::Span<const std::unique_ptr<UndoLog>> logs,
                      const PipelineOptions& options, const std::stop_token& stop, PipelineParts* parts,
                      std::vector<NamedSink>* sinks) {
  const ResolvedJob& job = prepared.job;
  const Preflight& preflight = prepared.preflight;
  JobStore* const store = prepared.store.get();
  sinks->clear();
  for (size_t i = 0; i < job.targets.size(); ++i) {
    sinks->push_back({job.targets[i].location.ToString(), preflight.sinks[i].get(), logs[i].get()});
  }
  parts->sinks = *sinks;
  parts->source = preflight.source.get();
  parts->expected_rows = std::max<int64_t>(preflight.rows_selected, store->rows());
  parts->lookup = preflight.lookup.get();
  parts->new_rows = prepared.changed.compared ? &prepared.changed.new_rows : nullptr;
  if (job.share.has_value()) {
    ABSL_RETURN_IF_ERROR(PrepareShared(job, *sinks, parts->expected_rows, store));
  }
  return RunPipeline(options, *parts, stop);
}

// Shows the targets' vectors to readers; of shares the last one does. `published`: whether it was done.
absl::Status PublishJob(const Prepared& prepared, absl::Span<const NamedSink> sinks, const Model& model,
                        RunCounters* counters, const std::stop_token& stop, bool* published) {
  const ResolvedJob& job = prepared.job;
  const bool has_rows = prepared.store->rows() > 0;
  *published = !job.share.has_value();
  const auto publish_all = [&] { return PublishTargets(sinks, model, counters, stop); };
  if (!has_rows) {
    ABSL_RETURN_IF_ERROR(FinishWithoutRows(job, sinks));
  }
  if (!job.share.has_value()) return has_rows ? publish_all() : absl::OkStatus();
  if (job.options.limit > 0) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const std::string note, CompleteShare(job, publish_all, published));
  PrintNote(job, note);
  return absl::OkStatus();
}

}  // namespace

RunOutcome ExecuteRun(Prepared* prepared, TokenCounting* counting, StopSignals* signals, Running* running,
                      absl::FunctionRef<absl::Status(const RunOutcome&)> keep_receipt) {
  const ResolvedJob& job = prepared->job;
  JobStore* const store = prepared->store.get();
  EmbeddingClient* const client = running->embedder.client();
  RunCounters& counters = running->counters;
  RunOutcome outcome = OutcomeBefore(*prepared);

  UndoStore undo(job.directory);
  const absl::StatusOr<std::vector<std::unique_ptr<UndoLog>>> logs = UndoLogsOf(job, &undo);
  if (outcome.status = logs.status(); !outcome.status.ok()) return outcome;
  const TokenCounter count_tokens = [counting](absl::string_view text) { return counting->Count(text); };
  PipelineOptions pipeline = job.pipeline;
  pipeline.publishes = false;  // not before the last look at the source
  pipeline.prepares = !job.share.has_value();
  PipelineParts parts = {.client = client,
                         .ledger = store,
                         .count_tokens = &count_tokens,
                         .estimator = counting->estimator(),
                         .counters = &counters,
                         .owed = store,
                         .control = job.client.control};
  std::vector<NamedSink> sinks;
  const auto walk = [&] { return WalkRows(*prepared, *logs, pipeline, signals->token(), &parts, &sinks); };
  const auto embed = [&]() -> absl::Status {
    absl::Status status = walk();
    while (AreWritesLost(status) && signals->signal() == 0) {
      if (status = ServeAgain(status, prepared, running->watch.get(), &outcome); !status.ok()) break;
      status = walk();
    }
    return WhatEndedIt(status, job.client.spend);
  };
  {
    const ProgressStyle style = ProgressStyleOf(job.options.progress, job.options.quiet);
    const Progress progress(style, running->watch.get());
    outcome.status = embed();
    if (outcome.status.ok()) outcome.status = EmbedWhatChanged(prepared, counters, embed, running->watch.get());
    if (outcome.status.ok() && job.options.limit == 0) outcome.status = store->NoteAllRead();
    // Also what came last shall be of the right model before readers see it.
    if (const absl::Status checked = running->embedder.pool->FinishChecks(); !checked.ok()) {
      outcome.status = checked;
    }
    bool published = false;
    const auto publish = [&] {
      return PublishJob(*prepared, sinks, client->model(), &counters, signals->token(), &published);
    };
    if (outcome.status.ok()) outcome.status = publish();
    while (AreWritesLost(outcome.status) && signals->signal() == 0) {
      outcome.status = ServeAgain(outcome.status, prepared, running->watch.get(), &outcome);
      if (outcome.status.ok()) outcome.status = embed();
      if (outcome.status.ok()) outcome.status = publish();
    }
    if (outcome.status.ok() && published && counters.rows_embedded + counters.rows_replayed > 0)
      outcome.switched = absl::Now();
  }
  const ClientStats stats = client->stats();
  if (const int64_t lost = stats.texts_dropped; lost > 0) {  // those without an answer are noted as they come
    // A store that failed to write ends without this note as if it had been killed, and that counts for more.
    store->NoteDropped(lost).IgnoreError();
  }
  const auto take_stock = [&] { TakeStock(*prepared, *running, StockAfter(job, store, outcome.before), &outcome); };
  take_stock();
  if (job.options.record && outcome.status.ok()) {
    const absl::Status receipt = keep_receipt(outcome);
    pipeline.publishes = true;
    outcome.record = receipt.ok() ? SaveRecord(job, store, pipeline, parts, signals->token()) : receipt;
    take_stock();
  }
  outcome.signal = signals->signal();
  return outcome;
}

}  // namespace reembed
