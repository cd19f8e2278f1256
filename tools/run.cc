// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/lost_writes.h"
#include "engine/pace/run_control.h"
#include "engine/pipeline.h"
#include "engine/publish_targets.h"
#include "engine/status_macros.h"
#include "io/job/undo_store.h"
#include "tools/close_run.h"
#include "tools/column_locks.h"
#include "tools/commands.h"
#include "tools/endpoints.h"
#include "tools/final_look.h"
#include "tools/format.h"
#include "tools/live/job_report.h"
#include "tools/live/live_run.h"
#include "tools/live/live_services.h"
#include "tools/live/status_signal.h"
#include "tools/notify.h"
#include "tools/open_again.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/preflight.h"
#include "tools/prepare_run.h"
#include "tools/process_limits.h"
#include "tools/progress.h"
#include "tools/record.h"
#include "tools/recreate.h"
#include "tools/registry.h"
#include "tools/resolve.h"
#include "tools/run_report.h"
#include "tools/run_summary.h"
#include "tools/saved_plan.h"
#include "tools/shard_parent.h"
#include "tools/sharing.h"
#include "tools/signals.h"
#include "tools/spending.h"
#include "tools/streams.h"
#include "tools/take_stock.h"
#include "tools/target_files.h"
#include "tools/target_state.h"
#include "tools/token_counting.h"

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

// The pipeline with everything that watches over it. `keep_receipt`: called before the receipt becomes a memory.
RunOutcome Execute(Prepared* prepared, TokenCounting* counting, StopSignals* signals, Running* running,
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
  const auto take_stock = [&] { TakeStock(*prepared, *running, StatsAfter(job, store, outcome.before), &outcome); };
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

// What an earlier stream of the command has used of its limits is not there for this one; false: nothing is left.
bool TakeFromLimits(const RunOutcome& used, ResolvedJob* job) {
  CommandOptions& options = job->options;
  // Nothing left must not turn into 0, which means no limit.
  if (options.limit > 0 && (options.limit -= used.after.rows - used.before.rows) <= 0) return false;
  job->pipeline.max_rows = options.limit;
  return true;
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

// Ends in time after a signal, at the latest by ending the process. Returns what became of it, which has been said.
absl::Status RunStream(Prepared* prepared, TokenCounting* counting, Spending* spending, StopSignals* signals,
                       LiveRun* live, RunReport* report) {
  const ResolvedJob& job = prepared->job;
  spending->ChargeTo(prepared->store.get());
  PrintHead(*prepared);
  RunOutcome outcome = OutcomeBefore(*prepared);
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
  const std::unique_ptr<Running> running = BeginRunning(*prepared, *std::move(embedder), spending);
  EmbeddingClient* const client = running->embedder.client();
  const auto last_words = [&](int signal) {
    RunOutcome so_far = OutcomeBefore(*prepared);
    so_far.signal = signal;
    so_far.status = absl::CancelledError("ended over what did not end in time; the same command goes on");
    TakeStock(*prepared, *running, StatsOnDisk(job, prepared->before), &so_far);
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
  live->Begin(job.stream, running->watch.get());
  outcome = Execute(prepared, counting, signals, running.get(), [&](const RunOutcome& so_far) {
    return prepared->store->RecordReceipt(ReceiptOf(*prepared->store, started, so_far));
  });
  CloseStream(prepared, started, spending, &outcome);
  live->End(outcome.run);
  if (running->embedder.cache != nullptr) PrintNote(job, CacheText(running->embedder.cache->counts()));
  report->Add(*prepared, outcome);
  return outcome.status;
}

// What is left to say of a run when it has let go of everything.
struct RunEnd {
  std::string summary;  // or why there was no run: a line of JSON
  std::string job;      // its directory; empty: the run has not begun
};

// All streams, one after the other. The first that fails ends the run; rejected rows do not.
ExitCode RunStreams(const CommandOptions& options, std::vector<Prepared>* all, TokenCounting* counting,
                    Spending* spending, StopSignals* signals, StatusSignal* status, RunEnd* end) {
  RunReport report(options, *all);
  RunControl control(all->front().job.pipeline.batches_in_flight);
  for (Prepared& prepared : *all) {
    prepared.job.client.control = &control;
    for (ResolvedEndpoint& endpoint : prepared.job.endpoints) endpoint.client.control = &control;
  }
  LiveRun live({.job = report.directory(),
                .streams = static_cast<int>(all->size()),
                .control = &control,
                .signal = [signals] { return signals->signal(); },
                .stop = [] { kill(getpid(), SIGTERM); },
                .abort = [signals] { signals->Abort(); }});
  const LiveServices services(options, report.directory(), &live, status,
                              [&job = all->front().job](const std::string& note) { PrintNote(job, note); });
  bool goes_on = true;
  for (Prepared& prepared : *all) {
    if (goes_on && !TakeFromLimits(report.total(), &prepared.job)) {
      report.LeaveOut(prepared, kExitDone);
      goes_on = false;
    } else if (goes_on && signals->signal() == 0) {
      goes_on = RunStream(&prepared, counting, spending, signals, &live, &report).ok();
    } else {
      report.LeaveOut(prepared, signals->signal() == 0 ? kExitDone : ExitCodeOfSignal(signals->signal()));
    }
  }
  if (const std::string overrun = spending->Overrun(); !overrun.empty()) PrintNote(all->front().job, overrun);
  const ExitCode code = report.Finish();
  live.Finish(code);
  end->summary = report.Summary();
  end->job = report.directory();
  return code;
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

// From now on.
void LimitTime(const CommandOptions& options, absl::Duration longest, StopSignals* signals) {
  if (options.cutoff == "cautious") longest -= StopWait(options) + StopSignals::kStopTargets;
  signals->EndBy(MonotonicNow() + longest, options.cutoff == "hard");
}

// What is to be said of shares and of a plan that is kept; a share that nobody has begun is taken.
absl::Status CheckPlans(const CommandOptions& options, const TokenCounting* counting, const Environment& environment,
                        std::vector<ResolvedJob>* jobs) {
  if (options.shards > 0 || !options.out.empty()) {
    return absl::InvalidArgumentError("--shards and --out go with `reembed plan`; one share is --shard I/N");
  }
  if (!options.plan.empty()) {
    ABSL_RETURN_IF_ERROR(jobs->front().share.has_value()
                             ? CheckPlanFitsShares(options.plan, jobs->front(), counting, environment)
                             : CheckPlanFits(options.plan, *jobs, counting, environment));
  }
  return jobs->front().share.has_value() ? TakeShare(&jobs->front()) : absl::OkStatus();
}

// Nothing is dropped that another job fills.
absl::Status LockTargets(const CommandOptions& options, const std::vector<ResolvedJob>& jobs, ColumnLocks* columns) {
  if (!options.force_recreate) return absl::OkStatus();
  for (const ResolvedJob& job : jobs) {
    for (const Store& target : job.targets) {
      ABSL_RETURN_IF_ERROR(columns->Lock(target, job.directory).status());
    }
  }
  return absl::OkStatus();
}

ExitCode RunAll(CommandOptions options, const Environment& environment, RunEnd* end) {
  // Before all else, so that it sees the stores closed.
  StopSignals signals({.command = "run", .left = "the same command goes on", .json = options.json});
  StatusSignal status([] { std::fputs("preparing; no row has been asked for yet\n", stderr); });
  const auto fail = [&](const absl::Status& status) {
    std::vector<std::string> uris = options.targets;
    uris.push_back(options.source);
    const absl::Status advised = WithQuotingAdvice(status, uris);
    end->summary = FailureJson("run", advised);
    return Fail("run", advised, options.json);
  };
  if (absl::Status live = CheckLiveOptions(options); !live.ok()) return fail(live);
  const absl::StatusOr<absl::Duration> longest = MaxDuration(options);
  if (!longest.ok()) return fail(longest.status());
  if (*longest != absl::InfiniteDuration()) LimitTime(options, *longest, &signals);
  absl::StatusOr<std::vector<ResolvedJob>> jobs = ResolveStreams(options, environment);
  if (!jobs.ok()) return fail(jobs.status());
  if (jobs->front().directory.empty()) return fail(CheckJobsFolder(environment));
  if (absl::Status files = AllowOpenFiles(FilesOf(*jobs)); !files.ok()) return fail(files);
  if (absl::Status dropped = DropAbsentStreams(&*jobs); !dropped.ok()) return fail(dropped);
  if (absl::Status user = CheckUser(*jobs); !user.ok()) return fail(user);
  const absl::StatusOr<std::unique_ptr<TokenCounting>> counting = TokenCounting::Make(jobs->front());
  if (!counting.ok()) return fail(counting.status());
  for (ResolvedJob& job : *jobs) job.pipeline.text_limit = (*counting)->limit();
  if (absl::Status fits = CheckPlans(options, counting->get(), environment, &*jobs); !fits.ok()) return fail(fits);
  ColumnLocks columns([&options](const std::string& note) {
    if (!options.quiet) Note(note, options.json);
  });
  if (absl::Status locked = LockTargets(options, *jobs, &columns); !locked.ok()) return fail(locked);
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
    absl::Status written = WriteJobDescription(prepared.job);
    if (written.ok() && !options.plan.empty()) written = KeepPlan(options.plan, prepared.job);
    if (!written.ok()) return fail(written);
  }
  return RunStreams(options, &all, counting->get(), spending->get(), &signals, &status, end);
}

}  // namespace

ExitCode RunCommand(const CommandOptions& options, const Environment& environment) {
  RunEnd end;
  const ExitCode code = RunAll(options, environment, &end);
  for (const std::string& report : options.reports) {
    if (end.job.empty()) break;
    // The run is as it was, whatever becomes of the report.
    if (absl::Status written = WriteJobReport(end.job, report); !written.ok()) Fail("run", written, options.json);
  }
  if (options.notify.empty()) return code;
  if (absl::Status notified = Notify(options.notify, end.summary); !notified.ok()) {
    Note(absl::StrCat("--notify: ", notified.message(), "; the run itself ended with ", code), options.json);
  }
  return code;
}

}  // namespace reembed
