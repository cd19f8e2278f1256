// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/locked_sink.h"
#include "engine/owed_rows.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/file/own_file.h"
#include "io/job/job_reader.h"
#include "io/job/job_store.h"
#include "io/job/owed_table.h"
#include "io/job/target_names.h"
#include "io/job/undo_store.h"
#include "tools/changed_rows.h"
#include "tools/column_locks.h"
#include "tools/commands.h"
#include "tools/consent.h"
#include "tools/endpoints.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/preflight.h"
#include "tools/process_limits.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/recount.h"
#include "tools/recreate.h"
#include "tools/registry.h"
#include "tools/resolve.h"
#include "tools/run_summary.h"
#include "tools/same_model.h"
#include "tools/sharing.h"
#include "tools/signals.h"
#include "tools/spending.h"
#include "tools/streams.h"
#include "tools/target_comparison.h"
#include "tools/target_files.h"
#include "tools/target_state.h"
#include "tools/token_counting.h"

namespace reembed {
namespace {

// Overwriting vectors that are there needs a yes; a job that has begun has it, until it is put back.
absl::Status AskToReplace(const ResolvedJob& job, const Preflight& preflight, const JobStats& before, JobStore* store) {
  if (!preflight.survey.has_value() || job.selection.rows != Selection::Rows::kAll) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const JobIdentity begun, store->identity());
  const bool has_consent = before.rows > 0 && absl::StartsWith(begun.selection, kEveryRow);
  if (has_consent && !before.rolled_back.has_value()) return absl::OkStatus();
  const int64_t existing = preflight.survey->rows_selected - preflight.survey->rows_null;
  if (existing == 0) return absl::OkStatus();
  const bool has_way_back = KeepsUndo(job, job.targets.front());
  return AskConsent(
      absl::StrCat("--all replaces ", Counted(existing, "vector", "vectors"), " in ", PlaceName(job.source.location),
                   has_way_back ? absl::StrCat("; `reembed rollback ", job.directory, "` brings them back") : ""),
      has_way_back ? "to go on, say --yes" : "nothing brings them back: make a backup first, then say --yes",
      job.options.yes);
}

absl::Status WriteJobDescription(const ResolvedJob& job) {
  return ReplaceOwnFile(job.directory + "/job.toml", WriteJobFile(DescribedOptions(job)));
}

// From any thread.
void PrintNote(const ResolvedJob& job, const std::string& note) {
  if (!job.options.quiet) Note(note, job.options.json);
}

double Cost(const ResolvedJob& job, int64_t tokens) {
  return static_cast<double>(tokens) * UsdPerToken(job).value_or(0);
}

// What the job holds on disk, as anybody else would read it.
JobStats StatsOnDisk(const ResolvedJob& job, const JobStats& before) {
  const absl::StatusOr<std::unique_ptr<JobReader>> reader = JobReader::Open(job.directory);
  if (!reader.ok()) return before;
  absl::StatusOr<JobStats> after = (*reader)->Stats();
  return after.ok() ? *std::move(after) : before;
}

std::vector<std::string> TargetNames(const ResolvedJob& job) {
  std::vector<std::string> names;
  for (const Store& target : job.targets) names.push_back(target.location.ToString());
  return names;
}

std::vector<TargetState> TargetStatesOf(const ResolvedJob& job, const JobStats& stats) {
  const absl::StatusOr<TargetRecords> records = ReadTargetRecords(job.directory);
  return TargetStates(stats, records.ok() ? *records : TargetRecords(), TargetNames(job));
}

// What the job holds now. A store that failed to write says nothing any more.
JobStats StatsAfter(const ResolvedJob& job, JobStore* store, const JobStats& before) {
  absl::StatusOr<JobStats> after = store->Stats();
  return after.ok() ? *std::move(after) : StatsOnDisk(job, before);
}

// Rows that are still to do when the run ends early, also those that it has not read.
int64_t RowsLeft(const ResolvedJob& job, int64_t rows_selected, const RunCounters& counters, const JobStats& after) {
  const int64_t rejected = RejectedRows(after) + after.rows_gone;
  // Rows that lack a vector are selected in the first case, all rows of the job in the second.
  const bool lacking = job.in_place && job.selection.rows != Selection::Rows::kAll;
  const int64_t finished = (lacking ? counters.rows_done.load() : DoneRows(after)) + rejected;
  return std::max(rows_selected - finished, after.rows_pending);
}

// One stream of the command, opened and checked, so that nothing is bought for the first before the last is sound.
struct Prepared {
  ResolvedJob job;
  Preflight preflight;
  bool new_directory = false;         // the job's directory was made by this command
  bool new_parent_directory = false;  // likewise, where streams have theirs in one of the job
  TargetLocks locks;                  // held until the command ends
  std::vector<TargetLock*> columns;   // of the targets; null: no lock of that kind. Live as ColumnLocks
  std::unique_ptr<JobStore> store;
  ChangedRows changed;
  std::string source_file;  // as FileStateOf() had it before the source was read
  JobStats before;
  UnknownModel unknown;  // what is there already
  SampleVerdict sample;  // of it
  ClientStats probed;
};

std::unique_ptr<VectorSink> Locked(std::unique_ptr<VectorSink> sink, TargetLock* lock) {
  if (lock == nullptr) return sink;
  return std::make_unique<LockedSink>(std::move(sink), lock);
}

// What a stream works with while it runs, and counts.
struct Running {
  RunningPool embedder;
  RunCounters counters;
  Moment start = MonotonicNow();
};

// What the run has done so far, when the job holds `after`.
void TakeStock(const Prepared& prepared, const Running& running, JobStats after, RunOutcome* outcome) {
  outcome->after = std::move(after);
  outcome->client = running.embedder.client()->stats();
  outcome->endpoints = running.embedder.pool->endpoints();
  Add(prepared.probed, &outcome->client);
  outcome->texts_embedded = running.counters.texts_embedded;
  outcome->texts_damaged = prepared.store->recovery().damaged_texts;
  outcome->rows_truncated = running.counters.rows_truncated;
  outcome->rows_split = running.counters.rows_split;
  outcome->waits = running.counters.waits.Shares();
  outcome->cost_usd = Cost(prepared.job, outcome->client.tokens);
  outcome->in_place = prepared.job.in_place;
  outcome->may_hide_rows = prepared.job.source.kind->find_hidden_rows != nullptr;
  outcome->elapsed = MonotonicNow() - running.start;
  outcome->rows_left = outcome->status.ok()
                           ? outcome->after.rows_pending
                           : RowsLeft(prepared.job, prepared.preflight.rows_selected, running.counters, outcome->after);
}

// Which failure of a batch comes first is chance: others may have waited for the texts of one that money ended.
absl::Status WhatEndedIt(absl::Status status, const SpendCap* cap) {
  if (cap == nullptr || !(absl::IsCancelled(status) || absl::IsUnavailable(status))) return status;
  absl::Status reached = cap->Reached();
  return IsSpendCapReached(reached) ? reached : status;
}

// A job without rows does not come to the end of a sink. A table that has all its vectors gets the index that was asked
// for all the same, whoever wrote them, and files are made without rows; but nothing takes the place of what is there.
absl::Status FinishWithoutRows(const ResolvedJob& job, Preflight* preflight) {
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const bool own_table = job.in_place && i == 0;
    if (!own_table && FilesOf(job.targets[i]).empty()) continue;
    const StoreKind& kind = *job.targets[i].kind;
    if (kind.overwriting != nullptr) {
      ABSL_ASSIGN_OR_RETURN(const Overwriting overwriting, kind.overwriting(job.targets[i].location, job.client.model));
      if (overwriting.kind == Overwriting::Kind::kSwitch) continue;
    }
    ABSL_RETURN_IF_ERROR(preflight->sinks[i]->Finish());
  }
  return absl::OkStatus();
}

// What this run will come to, as far as that is known before.
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

// Size, time and inode of a source that is one file; empty: it is none, or cannot be looked at.
std::string FileStateOf(const Store& source) {
  struct stat file;
  if (!source.kind->is_file || source.kind->is_table() || stat(source.location.path.c_str(), &file) != 0) return "";
  return absl::StrCat(file.st_size, " ", file.st_mtim.tv_sec, " ", file.st_mtim.tv_nsec, " ", file.st_ino);
}

// Whether the rows of the source can be others by now than those that were read.
bool MayHaveChanged(const Prepared& prepared, const RunCounters& counters) {
  const ResolvedJob& job = prepared.job;
  if (counters.rows_embedded + counters.rows_replayed == 0 || job.options.no_changed || job.options.limit > 0) {
    return false;
  }
  if (job.source.kind->is_stream || job.keep_vectors != KeepVectors::kAlways) return false;
  return job.source.kind->is_table() || FileStateOf(job.source) != prepared.source_file;
}

// The store is in use while a run goes on: rows that got another text since they were read, and rows that came, are
// embedded too, until a look at the source finds none. That look is the only one that sees an edit between the reading
// of a row and the writing of its vector, whatever the target. `embed`: runs the pipeline over what `prepared` has.
absl::Status EmbedWhatChanged(Prepared* prepared, const RunCounters& counters, absl::FunctionRef<absl::Status()> embed,
                              RunOutcome* outcome) {
  const ResolvedJob& job = prepared->job;
  JobStore* const store = prepared->store.get();
  if (!MayHaveChanged(*prepared, counters)) return absl::OkStatus();
  for (int pass = 0; pass < job.options.max_passes; ++pass) {
    prepared->source_file = FileStateOf(job.source);
    // What the table has lost of what was written is the last count's affair.
    ABSL_ASSIGN_OR_RETURN(prepared->changed, MarkChanged(job, "", /*written=*/0, store, [](const LedgerRow&) {}));
    ABSL_RETURN_IF_ERROR(store->Sync());
    outcome->rows_changed += prepared->changed.rows_changed;
    ABSL_ASSIGN_OR_RETURN(const bool has_new, HasNewRows(job, prepared->changed.new_rows));
    if (prepared->changed.rows_changed == 0 && !has_new) return absl::OkStatus();
    // Files are complete, and are built again beside.
    ABSL_RETURN_IF_ERROR(ReleaseTargets(job, store->rows(), prepared->locks));
    ABSL_ASSIGN_OR_RETURN(Preflight again, Check(job));
    prepared->preflight.sinks.clear();
    prepared->preflight.source = std::move(again.source);
    prepared->preflight.rows_selected = again.rows_selected;
    ABSL_ASSIGN_OR_RETURN(prepared->preflight.lookup, OpenAllRows(job));
    for (size_t i = 0; i < again.sinks.size(); ++i) {
      prepared->preflight.sinks.push_back(Locked(std::move(again.sinks[i]), prepared->columns[i]));
    }
    ABSL_ASSIGN_OR_RETURN(const JobStats stats, store->Stats());
    ABSL_RETURN_IF_ERROR(ClaimTargets(job, stats, std::max(again.rows_selected, stats.rows), prepared->locks, store));
    ABSL_RETURN_IF_ERROR(embed());
    ++outcome->passes;
  }
  return absl::OkStatus();
}

// The pipeline with everything that watches over it. `keep_receipt`: called before the receipt becomes a memory.
RunOutcome Execute(Prepared* prepared, TokenCounting* counting, StopSignals* signals, Running* running,
                   absl::FunctionRef<absl::Status(const RunOutcome&)> keep_receipt) {
  const ResolvedJob& job = prepared->job;
  Preflight* const preflight = &prepared->preflight;
  JobStore* const store = prepared->store.get();
  EmbeddingClient* const client = running->embedder.client();
  RunCounters& counters = running->counters;
  RunOutcome outcome{
      .before = prepared->before, .after = prepared->before, .rows_changed = prepared->changed.rows_changed};

  UndoStore undo(job.directory);
  std::vector<std::unique_ptr<UndoLog>> logs;
  for (const Store& target : job.targets) {
    logs.push_back(KeepsUndo(job, target) ? undo.LogOf(target.location.ToString()) : nullptr);
    if (outcome.status = KeepRecreated(job, target, logs.back().get()); !outcome.status.ok()) return outcome;
  }
  const TokenCounter count_tokens = [counting](absl::string_view text) { return counting->Count(text); };
  PipelineOptions pipeline = job.pipeline;
  pipeline.text_limit = counting->limit();
  PipelineParts parts = {.client = client,
                         .ledger = store,
                         .count_tokens = &count_tokens,
                         .estimator = counting->estimator(),
                         .counters = &counters,
                         .owed = store};
  std::vector<NamedSink> sinks;
  const auto embed = [&]() -> absl::Status {
    sinks.clear();
    for (size_t i = 0; i < job.targets.size(); ++i) {
      sinks.push_back({job.targets[i].location.ToString(), preflight->sinks[i].get(), logs[i].get()});
    }
    parts.sinks = sinks;
    parts.source = preflight->source.get();
    parts.expected_rows = std::max<int64_t>(preflight->rows_selected, store->rows());
    parts.lookup = preflight->lookup.get();
    parts.new_rows = prepared->changed.compared ? &prepared->changed.new_rows : nullptr;
    return WhatEndedIt(RunPipeline(pipeline, parts, signals->token()), job.client.spend);
  };
  {
    const ProgressStyle style = job.options.quiet ? ProgressStyle::kOff : ProgressStyleOf(job.options.progress);
    const Progress progress(style, &counters, client, ScopeOf(*prepared));
    outcome.status = embed();
    if (outcome.status.ok()) outcome.status = EmbedWhatChanged(prepared, counters, embed, &outcome);
    if (outcome.status.ok() && job.options.limit == 0) outcome.status = store->NoteAllRead();
    if (outcome.status.ok() && store->rows() == 0) outcome.status = FinishWithoutRows(job, preflight);
    if (outcome.status.ok() && counters.rows_embedded + counters.rows_replayed > 0) outcome.switched = absl::Now();
    // Also what came last shall be of the right model before anybody is told that all is done.
    if (const absl::Status checked = running->embedder.pool->FinishChecks(); !checked.ok()) {
      outcome.status = checked;
    }
  }
  const ClientStats stats = client->stats();
  if (const int64_t lost = stats.texts_dropped; lost > 0) {  // those without an answer are noted as they come
    // A store that failed to write ends without this note as if it had been killed, and that counts for more.
    store->NoteDropped(lost).IgnoreError();
  }
  const auto take_stock = [&] { TakeStock(*prepared, *running, StatsAfter(job, store, outcome.before), &outcome); };
  take_stock();
  if (job.options.record && outcome.status.ok()) {
    const absl::Status receipt = keep_receipt(outcome);
    outcome.record = receipt.ok() ? KeepRecord(job, store, pipeline, parts, signals->token()) : receipt;
    take_stock();
  }
  outcome.signal = signals->signal();
  return outcome;
}

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

// Where nobody can promise that this job was alone, what it has written is looked at: vectors of two jobs in one column
// never end as if all were well.
absl::Status ReadBackUnlocked(const Prepared& prepared, RunOutcome* outcome) {
  const ResolvedJob& job = prepared.job;
  if (!outcome->status.ok()) return absl::OkStatus();
  for (size_t i = 0; i < job.targets.size(); ++i) {
    const Store& target = job.targets[i];
    const TargetLock* const lock = prepared.columns[i];
    if (!target.kind->is_table() || (lock != nullptr && lock->unbroken())) continue;
    int64_t from = 0, to = 0;
    for (const auto& [sink, reached] : prepared.before.sinks) {
      if (IsNameOf(sink, target.location) && outcome->rows_changed == 0) from = reached;
    }
    for (const auto& [sink, reached] : outcome->after.sinks) {
      if (IsNameOf(sink, target.location)) to = reached;
    }
    if (from >= to) continue;  // it has written nothing
    ABSL_ASSIGN_OR_RETURN(const ReadBack read, ReadTargetBack(job.directory, target, from));
    outcome->rows_foreign += read.foreign;
    if (read.told && read.foreign == 0) continue;
    if (outcome->foreign.empty()) outcome->foreign = ReadBackMessage(target, job.directory, read);
  }
  return absl::OkStatus();
}

// Runs that were killed have no receipt; the next one that ends says what they may have cost.
int64_t ReboughtSinceLastReceipt(const RunOutcome& outcome) {
  int64_t texts = outcome.after.texts_possibly_rebought - outcome.client.texts_dropped;
  for (const Receipt& receipt : outcome.before.receipts) texts -= receipt.rows_possibly_rebought;
  return std::max<int64_t>(0, texts);
}

Receipt ReceiptOf(const JobStore& store, absl::Time started, const RunOutcome& outcome) {
  return {.run = store.run(),
          .started = started,
          .ended = started + outcome.elapsed,  // whatever became of the clock meanwhile
          .outcome = OutcomeWord(outcome.status),
          .requests = outcome.client.requests,
          .requests_retried = outcome.client.requests_retried,
          .http_429 = outcome.client.http_429,
          .tokens = outcome.client.tokens,
          .cost_usd = outcome.cost_usd,
          .rows_embedded = DoneRows(outcome.after) - DoneRows(outcome.before),
          .rows_rejected = RejectedRows(outcome.after),
          .rows_possibly_rebought = ReboughtSinceLastReceipt(outcome),
          .switched = outcome.switched,
          .endpoints = EndpointsJson(outcome.endpoints)};
}

// A job that ends before it began leaves nothing behind.
void Discard(Prepared* prepared) {
  prepared->store.reset();
  if (!prepared->new_directory || prepared->before.rows > 0) return;
  std::error_code ignored;
  const std::filesystem::path directory = prepared->job.directory;
  std::filesystem::remove_all(directory, ignored);
  if (prepared->new_parent_directory) std::filesystem::remove(directory.parent_path(), ignored);  // when it is empty
}

// Marks what has changed since the last run, so that the pipeline embeds it again and serves it to the targets.
absl::Status TakeUpChanged(Prepared* prepared) {
  const ResolvedJob& job = prepared->job;
  JobStore* const store = prepared->store.get();
  const std::string own = job.in_place ? job.targets[0].location.ToString() : "";
  ABSL_ASSIGN_OR_RETURN(const JobIdentity begun, store->identity());
  const bool widens = job.selection.rows == Selection::Rows::kAll && !absl::StartsWith(begun.selection, kEveryRow);
  if (widens) {
    ABSL_RETURN_IF_ERROR(store->WidenSelection(own));
    ABSL_ASSIGN_OR_RETURN(prepared->before, store->Stats());
  }
  // Of what the job's own table has had; what it is still to get comes anyway.
  int64_t written = 0;
  for (const auto& [sink, position] : prepared->before.sinks) {
    if (sink == own) written = position;
  }
  JobStats* const before = &prepared->before;
  const auto changed = [&](const LedgerRow& row) {
    // Also one whose new text has a vector already is done by this run.
    if (row.state == SlotState::kRejected) --before->rejected_rows;
    ++before->rows_pending;
  };
  ABSL_ASSIGN_OR_RETURN(prepared->changed, MarkChanged(job, own, written, store, changed));
  ABSL_ASSIGN_OR_RETURN(prepared->preflight.lookup, OpenAllRows(job));
  return store->Sync();
}

// The lowest row of the job that a target will be served with.
absl::StatusOr<int64_t> LowestServed(const Prepared& prepared) {
  int64_t lowest = prepared.store->rows();
  for (size_t i = 0; i < prepared.job.targets.size() && lowest > 0; ++i) {
    const Store& target = prepared.job.targets[i];
    int64_t position = 0;
    for (const auto& [sink, reached] : prepared.before.sinks) {
      if (IsNameOf(sink, target.location)) position = reached;
    }
    lowest = std::min(lowest, position);
    if (prepared.preflight.sinks[i]->row_order() == RowOrder::kAny) continue;
    // It cannot replace rows, so it is built again for those that it is owed.
    ABSL_ASSIGN_OR_RETURN(const std::vector<int64_t> owed, prepared.store->Owed(target.location.ToString()));
    if (!owed.empty()) lowest = 0;
  }
  return lowest;
}

// What the job's targets will be served with is looked at before: a vector that is damaged is bought again.
absl::Status TakeUpDamaged(Prepared* prepared) {
  JobStore* const store = prepared->store.get();
  ABSL_ASSIGN_OR_RETURN(int64_t lowest, LowestServed(*prepared));
  ABSL_RETURN_IF_ERROR(store->DropDamaged(lowest));
  if (store->recovery().damaged_texts == 0) return absl::OkStatus();
  // Targets may have to be built again for what was found.
  ABSL_ASSIGN_OR_RETURN(const int64_t now, LowestServed(*prepared));
  if (now < lowest) {
    ABSL_RETURN_IF_ERROR(store->DropDamaged(now));
  }
  ABSL_ASSIGN_OR_RETURN(prepared->before, store->Stats());
  return absl::OkStatus();
}

// From now on nobody else fills what the job fills, or writes are refused.
absl::Status LockColumns(ColumnLocks* locks, Prepared* prepared) {
  for (size_t i = 0; i < prepared->job.targets.size(); ++i) {
    ABSL_ASSIGN_OR_RETURN(TargetLock* const lock, locks->Lock(prepared->job.targets[i], prepared->job.directory));
    prepared->columns.push_back(lock);
    prepared->preflight.sinks[i] = Locked(std::move(prepared->preflight.sinks[i]), lock);
  }
  return absl::OkStatus();
}

absl::StatusOr<Prepared> Prepare(ResolvedJob resolved, const Environment& environment, ColumnLocks* columns) {
  Prepared prepared{.job = std::move(resolved)};
  const ResolvedJob& job = prepared.job;
  const std::filesystem::path directory = job.directory;
  prepared.source_file = FileStateOf(job.source);
  prepared.new_directory = !std::filesystem::exists(directory);
  prepared.new_parent_directory = !job.stream.empty() && !std::filesystem::exists(directory.parent_path());
  // First: what is looked at stays as it is then.
  ABSL_ASSIGN_OR_RETURN(prepared.locks, LockTargets(job.targets, job.directory));
  ABSL_ASSIGN_OR_RETURN(prepared.preflight, Check(job));
  ABSL_RETURN_IF_ERROR(AdoptTargetNames(job.directory, TargetNames(job)));
  ABSL_ASSIGN_OR_RETURN(prepared.store, JobStore::Open(job.directory, job.identity,
                                                       {.keep_vectors = job.keep_vectors,
                                                        .texts_in_flight = int64_t{job.pipeline.batches_in_flight} *
                                                                           job.pipeline.batch.max_texts}));
  ABSL_ASSIGN_OR_RETURN(prepared.before, prepared.store->Stats());
  if (prepared.preflight.survey.has_value()) {
    prepared.unknown = FindUnknownModel(job, *prepared.preflight.survey, prepared.before, JobsFolder(environment));
  }
  absl::Status ready = LockColumns(columns, &prepared);
  if (ready.ok()) ready = AskToReplace(job, prepared.preflight, prepared.before, prepared.store.get());
  if (ready.ok()) ready = TakeUpChanged(&prepared);
  if (ready.ok()) ready = TakeUpDamaged(&prepared);
  if (!ready.ok()) {
    Discard(&prepared);
    return ready;
  }
  return prepared;
}

// One text is sent before the first purchase; streams share the answer.
absl::Status Probe(std::vector<Prepared>* all, Spending* spending) {
  const ResolvedJob* probed = nullptr;
  for (Prepared& prepared : *all) {
    if (prepared.before.rows > 0 || prepared.preflight.rows_selected == 0) continue;
    if (probed != nullptr) {
      prepared.job.client.encoding = probed->client.encoding;
      continue;
    }
    spending->ChargeTo(prepared.store.get());
    prepared.job.client.note = [&job = prepared.job](const std::string& note) { PrintNote(job, note); };
    absl::StatusOr<LiveProbe> probe = ProbeEmbedder(&prepared.job);
    prepared.job.client.note = nullptr;
    ABSL_RETURN_IF_ERROR(probe.status());
    prepared.probed = probe->stats;
    if (!probe->note.empty()) prepared.job.notes.push_back(probe->note);
    probed = &prepared.job;
  }
  return absl::OkStatus();
}

// Nothing is added beside vectors of another model, unless the user wants that.
absl::Status CheckModels(const TokenCounting& counting, std::vector<Prepared>* all, Spending* spending) {
  for (Prepared& prepared : *all) {
    if (!prepared.unknown.would_mix()) continue;
    ResolvedJob& job = prepared.job;
    if (job.options.mix) {
      job.notes.push_back(UnknownModelText(job, prepared.unknown));
      ABSL_RETURN_IF_ERROR(AcceptUnknownModel(job, prepared.unknown));
      continue;
    }
    spending->ChargeTo(prepared.store.get());
    ABSL_ASSIGN_OR_RETURN(ModelSample sample, CompareWithStored(job, prepared.unknown, counting));
    Add(sample.stats, &prepared.probed);
    prepared.sample = sample.verdict;
    if (!sample.note.empty()) job.notes.push_back(std::move(sample.note));
  }
  return absl::OkStatus();
}

// What an earlier stream of the command has used of its limits is not there for this one; false: nothing is left.
bool TakeFromLimits(const RunOutcome& used, ResolvedJob* job) {
  CommandOptions& options = job->options;
  // Nothing left must not turn into 0, which means no limit.
  if (options.limit > 0 && (options.limit -= used.after.rows - used.before.rows) <= 0) return false;
  job->pipeline.max_rows = options.limit;
  return true;
}

// The money of the job, of which these are the streams that are asked for.
absl::StatusOr<std::unique_ptr<Spending>> MakeSpending(std::vector<Prepared>* all) {
  const ResolvedJob& first = all->front().job;
  double spent = 0;
  std::vector<std::string> asked;
  for (const Prepared& prepared : *all) {
    spent += SpentBefore(prepared.before);
    asked.push_back(prepared.job.directory);
  }
  if (!first.stream.empty()) {
    const std::string parent = std::filesystem::path(first.directory).parent_path().string();
    const absl::StatusOr<std::vector<std::string>> folders = JobFolders(parent);
    for (const std::string& folder : folders.ok() ? *folders : asked) {
      if (std::find(asked.begin(), asked.end(), folder) != asked.end()) continue;
      const absl::StatusOr<std::unique_ptr<JobReader>> other = JobReader::Open(folder);
      if (absl::IsNotFound(other.status())) continue;  // killed before it had begun
      ABSL_RETURN_IF_ERROR(other.status());
      ABSL_ASSIGN_OR_RETURN(const JobStats stats, (*other)->Stats());
      spent += SpentBefore(stats);
    }
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Spending> spending,
                        Spending::Make(first, spent, [&first](const std::string& note) { PrintNote(first, note); }));
  for (Prepared& prepared : *all) {
    ResolvedJob& job = prepared.job;
    job.options.max_spend = spending->max_spend_text();
    job.client.spend = spending->cap();
    for (ResolvedEndpoint& endpoint : job.endpoints) endpoint.client.spend = spending->cap();
  }
  return spending;
}

// All requests of the command go by one quota, where workers share it. Null: it is this command's alone. Nothing is
// bought before the cache is known to be there, too.
absl::StatusOr<std::unique_ptr<WorkerQuota>> ShareQuota(std::vector<Prepared>* all, Spending* spending) {
  const ResolvedJob& first = all->front().job;
  ABSL_RETURN_IF_ERROR(CheckCache(first));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<WorkerQuota> quota,
                        JoinQuota(first, spending, [&first](const std::string& note) { PrintNote(first, note); }));
  for (Prepared& prepared : *all) {
    prepared.job.client.shared_quota = quota.get();
    for (ResolvedEndpoint& endpoint : prepared.job.endpoints) endpoint.client.shared_quota = quota.get();
  }
  return quota;
}

// What there is to say before the work begins.
void PrintHead(const Prepared& prepared) {
  const ResolvedJob& job = prepared.job;
  if (job.options.quiet || job.options.json) return;
  std::cerr << "job " << job.directory << std::endl;
  for (const std::string& note : prepared.preflight.remarks) std::cerr << "note: " << note << std::endl;
  for (const std::string& note : job.notes) std::cerr << "note: " << note << std::endl;
  if (prepared.before.rolled_back.has_value()) {
    std::cerr << "note: this job was rolled back; the vectors it has are written again" << std::endl;
  }
}

// What went wrong, on standard error.
void PrintTroubles(const ResolvedJob& job, const RunOutcome& outcome) {
  // Without its record it may be the memory that lacks one.
  if (outcome.rows_unaccounted > 0 && outcome.record.ok()) {
    Fail("run", absl::UnavailableError(outcome.unaccounted), job.options.json);
  }
  if (!outcome.foreign.empty()) Fail("run", absl::DataLossError(outcome.foreign), job.options.json);
  if (!outcome.status.ok()) Fail("run", outcome.status, job.options.json);
  if (!outcome.record.ok()) {
    Fail("run",
         absl::UnavailableError(
             absl::StrCat("the rows have their vectors, but the receipt is not stored as a memory: ",
                          outcome.record.status().message(),
                          absl::IsFailedPrecondition(outcome.record.status()) ? "" : "; give the same command again")),
         job.options.json);
  }
}

// The receipt, the last count, and what there is to name. The receipt is in the ledger when it returns.
void CloseStream(Prepared* prepared, absl::Time started, Spending* spending, RunOutcome* outcome) {
  if (absl::Status counted = CountAgain(prepared->job, prepared->store.get(), outcome); !counted.ok()) {
    outcome->status = counted;
  }
  if (absl::Status read = ReadBackUnlocked(*prepared, outcome); !read.ok()) outcome->status = read;
  outcome->unknown_model_rows = prepared->unknown.rows;
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
  if (recorded.ok()) recorded = spending->Close(prepared->store.get());
  if (outcome->status.ok()) outcome->status = recorded;
  if (spending->has_cap()) outcome->max_spend_usd = spending->max_usd();
  outcome->spent_usd = spending->spent_usd();
}

// How all streams end together.
class RunReport {
 public:
  RunReport(const CommandOptions& options, const std::vector<Prepared>& all)
      : options_(options),
        several_(!all.front().job.stream.empty()),
        directory_(several_ ? std::filesystem::path(all.front().job.directory).parent_path().string()
                            : all.front().job.directory) {}

  // Says what a stream did, once: the run may be ended while that is being said. Whether it did so.
  bool Add(const Prepared& prepared, const RunOutcome& outcome) {
    if (added_.exchange(&prepared) == &prepared) return false;
    PrintTroubles(prepared.job, outcome);
    const ExitCode code = CodeOf(outcome);
    if (options_.json) {
      if (outcome.record.ok() && !outcome.record->empty()) {
        std::cout << JsonLine("record").Add("memory", *outcome.record).ToString() << "\n";
      }
      if (several_) PrintSummaryJson("stream", prepared.job.stream, prepared.job.directory, outcome, code);
    } else if (!options_.quiet) {
      PrintSummaryText(prepared.job, outcome);
    }
    reembed::Add(outcome, &total_);
    code_ = WorseOf(code_, code);
    return true;
  }
  // A stream that was not begun: for this reason, or for that of one before it.
  void LeaveOut(const Prepared& prepared, ExitCode reason) {
    code_ = WorseOf(code_, reason);
    if (code_ == kExitDone || code_ == kExitRejectedRows) return;  // nobody asked for more
    total_.rows_left += std::max(prepared.preflight.rows_selected, prepared.before.rows_pending);
  }
  ExitCode Finish() const {
    if (options_.json) PrintSummaryJson("summary", "", directory_, total_, code_);
    return code_;
  }

  const RunOutcome& total() const { return total_; }

 private:
  const CommandOptions& options_;
  const bool several_;
  const std::string directory_;
  std::atomic<const Prepared*> added_{nullptr};
  RunOutcome total_;
  ExitCode code_ = kExitDone;
};

// Ends in time after a signal, at the latest by ending the process. Returns what became of it, which has been said.
absl::Status RunStream(Prepared* prepared, TokenCounting* counting, Spending* spending, StopSignals* signals,
                       RunReport* report) {
  const ResolvedJob& job = prepared->job;
  spending->ChargeTo(prepared->store.get());
  PrintHead(*prepared);
  RunOutcome outcome{.before = prepared->before, .after = prepared->before};
  if (prepared->before.rolled_back.has_value()) outcome.status = prepared->store->ForgetRollback();
  absl::StatusOr<RunningPool> embedder = StartPool(
      job, counting->estimator(), [&job](const std::string& note) { PrintNote(job, note); },
      [store = prepared->store.get()](int64_t texts, Done noted) { store->NoteLost(texts, std::move(noted)); });
  if (outcome.status.ok()) outcome.status = embedder.status();
  if (outcome.status.ok()) {
    const int64_t expected = std::max<int64_t>(prepared->preflight.rows_selected, prepared->before.rows);
    outcome.status = ClaimTargets(job, prepared->before, expected, prepared->locks, prepared->store.get());
  }
  if (!outcome.status.ok()) {
    report->Add(*prepared, outcome);
    return outcome.status;
  }
  Running running{.embedder = *std::move(embedder)};
  EmbeddingClient* const client = running.embedder.client();
  const auto last_words = [&](int signal) {
    RunOutcome so_far{.before = prepared->before,
                      .signal = signal,
                      .status = absl::CancelledError("ended over what did not end in time; the same command goes on")};
    TakeStock(*prepared, running, StatsOnDisk(job, prepared->before), &so_far);
    so_far.targets = TargetStatesOf(job, so_far.after);
    if (report->Add(*prepared, so_far)) report->Finish();
  };
  const StopSignals::Work work(
      signals,
      {.wait = StopWait(job.options),
       .stop = [client] { client->StopSending(absl::CancelledError("stopped; the same command goes on from here")); },
       .in_the_air = [client] { return client->stats().in_the_air; },
       .drop = [client] { client->Cancel(); },
       .last_words = last_words});
  const absl::Time started = absl::Now();
  outcome = Execute(prepared, counting, signals, &running, [&](const RunOutcome& so_far) {
    return prepared->store->RecordReceipt(ReceiptOf(*prepared->store, started, so_far));
  });
  CloseStream(prepared, started, spending, &outcome);
  if (running.embedder.cache != nullptr) PrintNote(job, CacheText(running.embedder.cache->counts()));
  report->Add(*prepared, outcome);
  return outcome.status;
}

// All streams, one after the other. The first that fails ends the run; rejected rows do not.
ExitCode RunStreams(const CommandOptions& options, std::vector<Prepared>* all, TokenCounting* counting,
                    Spending* spending, StopSignals* signals) {
  RunReport report(options, *all);
  bool goes_on = true;
  for (Prepared& prepared : *all) {
    if (goes_on && !TakeFromLimits(report.total(), &prepared.job)) {
      report.LeaveOut(prepared, kExitDone);
      goes_on = false;
    } else if (goes_on && signals->signal() == 0) {
      goes_on = RunStream(&prepared, counting, spending, signals, &report).ok();
    } else {
      report.LeaveOut(prepared, signals->signal() == 0 ? kExitDone : ExitCodeOfSignal(signals->signal()));
    }
  }
  if (spending->has_cap() && spending->spent_usd() > spending->max_usd()) {
    PrintNote(all->front().job, absl::StrCat(MoneyText(spending->spent_usd()), " are spent, ",
                                             MoneyText(spending->spent_usd() - spending->max_usd()),
                                             " above --max-spend: the last requests cost more than was estimated"));
  }
  return report.Finish();
}

// Files and connections that these jobs may have open at a time: all are prepared before the first runs. The built-in
// embedder has the other end of each connection, too.
int64_t FilesOf(const std::vector<ResolvedJob>& jobs) {
  constexpr int64_t kFilesOfAJob = 24;
  int64_t files = kFilesOfACommand + kFilesOfAJob * (static_cast<int64_t>(jobs.size()) - 1);
  for (const ResolvedEndpoint& endpoint : jobs.front().endpoints) files += endpoint.client.concurrency;
  const int64_t alone = jobs.front().client.concurrency;
  if (jobs.front().endpoints.empty()) files += jobs.front().embedder == Embedder::kBuiltin ? 2 * alone : alone;
  return files;
}

}  // namespace

ExitCode RunCommand(CommandOptions options, const Environment& environment) {
  // Before all else, so that it sees the stores closed.
  StopSignals signals({.command = "run", .left = "the same command goes on", .json = options.json});
  const auto fail = [&](const absl::Status& status) {
    std::vector<std::string> uris = options.targets;
    uris.push_back(options.source);
    return Fail("run", WithQuotingAdvice(status, uris), options.json);
  };
  if (absl::Status read = ReadJobFile(&options); !read.ok()) return fail(read);
  absl::StatusOr<std::vector<ResolvedJob>> jobs = ResolveStreams(options, environment);
  if (!jobs.ok()) return fail(jobs.status());
  if (jobs->front().directory.empty()) return fail(CheckJobsFolder(environment));
  if (absl::Status files = AllowOpenFiles(FilesOf(*jobs)); !files.ok()) return fail(files);
  if (absl::Status dropped = DropAbsentStreams(&*jobs); !dropped.ok()) return fail(dropped);
  if (absl::Status user = CheckUser(*jobs); !user.ok()) return fail(user);
  const absl::StatusOr<std::unique_ptr<TokenCounting>> counting = TokenCounting::Make(jobs->front());
  if (!counting.ok()) return fail(counting.status());
  ColumnLocks columns([&options](const std::string& note) {
    if (!options.quiet) Note(note, options.json);
  });
  for (const ResolvedJob& job : *jobs) {
    if (!options.force_recreate) break;
    // Nothing is dropped that another job fills.
    for (const Store& target : job.targets) {
      if (absl::Status locked = columns.Lock(target, job.directory).status(); !locked.ok()) return fail(locked);
    }
  }
  if (absl::Status recreated = RecreateTables(options, &*jobs); !recreated.ok()) return fail(recreated);
  std::vector<Prepared> all;
  const auto discard = [&](const absl::Status& status) {
    // The first made the directory that they share.
    for (auto prepared = all.rbegin(); prepared != all.rend(); ++prepared) Discard(&*prepared);
    return fail(status);
  };
  for (ResolvedJob& job : *jobs) {
    absl::StatusOr<Prepared> prepared = Prepare(std::move(job), environment, &columns);
    if (!prepared.ok()) return discard(prepared.status());
    all.push_back(*std::move(prepared));
  }
  const absl::StatusOr<std::unique_ptr<Spending>> spending = MakeSpending(&all);
  if (!spending.ok()) return discard(spending.status());
  const absl::StatusOr<std::unique_ptr<WorkerQuota>> quota = ShareQuota(&all, spending->get());
  if (!quota.ok()) return discard(quota.status());
  if (absl::Status probed = Probe(&all, spending->get()); !probed.ok()) return discard(probed);
  if (absl::Status models = CheckModels(**counting, &all, spending->get()); !models.ok()) return discard(models);
  for (const Prepared& prepared : all) {
    if (absl::Status written = WriteJobDescription(prepared.job); !written.ok()) return fail(written);
  }
  return RunStreams(options, &all, counting->get(), spending->get(), &signals);
}

}  // namespace reembed
