// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/pace/run_control.h"
#include "engine/status_macros.h"
#include "tools/close_run.h"
#include "tools/column_locks.h"
#include "tools/commands.h"
#include "tools/endpoints.h"
#include "tools/execute_run.h"
#include "tools/format.h"
#include "tools/live/job_report.h"
#include "tools/live/live_run.h"
#include "tools/live/live_services.h"
#include "tools/live/status_signal.h"
#include "tools/notify.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/preflight.h"
#include "tools/prepare_run.h"
#include "tools/process_limits.h"
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
#include "tools/target_state.h"
#include "tools/token_counting.h"

namespace reembed {
namespace {

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
    so_far.status = absl::CancelledError("ended, as a part did not stop in time; the same command resumes");
    TakeStock(*prepared, *running, StockLeftOnDisk(job, prepared->before), &so_far);
    so_far.targets = TargetStatesOf(job, so_far.after);
    if (report->Add(*prepared, so_far)) report->Finish();
  };
  const StopSignals::Work work(
      signals,
      {.wait = StopWait(job.options),
       .stop = [client] { client->StopSending(absl::CancelledError("stopped; the same command resumes from here")); },
       .in_the_air = [client] { return client->stats().in_the_air; },
       .drop = [client] { client->Cancel(); },
       .last_words = last_words});
  const absl::Time started = absl::Now();
  live->Begin(job.stream, running->watch.get());
  outcome = ExecuteRun(prepared, counting, signals, running.get(), [&](const RunOutcome& so_far) {
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
  StopSignals signals({.command = "run", .left = "the same command resumes", .json = options.json});
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
