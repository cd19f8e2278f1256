// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "engine/number/json_writer.h"
#include "engine/status_macros.h"
#include "io/job/job_reader.h"
#include "io/job/undo_store.h"
#include "tools/commands.h"
#include "tools/endpoints.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/reject_file.h"
#include "tools/resolve.h"
#include "tools/run_summary.h"
#include "tools/setting_flags.h"
#include "tools/shard_status.h"
#include "tools/signals.h"
#include "tools/streams.h"
#include "tools/target_state.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

std::string TimeText(absl::Time time) { return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::LocalTimeZone()); }

std::string RejectText(const RejectedRow& row) {
  return absl::StrCat("row ", KeyText(ViewOf(row.key)), ": ", MessageWithFlag(row.reason),
                      row.sink.empty() ? "" : absl::StrCat(" (", row.sink, ")"));
}

void PrintText(const std::string& dir, const JobReader& job, const JobStats& stats,
               const std::vector<RejectedRow>& rejects, const std::vector<TargetState>& targets) {
  const JobIdentity& id = job.identity();
  const int64_t done = stats.rows - stats.rows_pending - stats.rejected_rows;
  std::cout << "job       " << dir << "\nsource    " << id.source << ", " << id.selection << "\nmodel     " << id.model
            << ", " << id.dim << " dimensions, " << id.normalization << "\nrows      " << WithCommas(stats.rows) << ": "
            << WithCommas(done) << " have a vector, " << WithCommas(stats.rejected_rows) << " rejected, "
            << WithCommas(stats.rows_pending) << " to do\ntexts     " << WithCommas(stats.texts) << " different, "
            << Counted(stats.kept_texts, "vector", "vectors") << " kept\n";
  for (const TargetState& target : targets) {
    std::cout << "target    " << target.name << ": " << TargetStateText(target) << "\n";
  }
  for (const Receipt& receipt : stats.receipts) {
    std::cout << "run " << receipt.run << "     " << TimeText(receipt.started) << ", "
              << DurationText(std::max(absl::ZeroDuration(), receipt.ended - receipt.started)) << ", "
              << OutcomeWord(receipt.outcome) << ": " << Counted(receipt.rows_embedded, "row", "rows") << ", "
              << Counted(receipt.requests, "request", "requests") << ", " << Counted(receipt.tokens, "token", "tokens")
              << ", " << MoneyText(receipt.cost_usd);
    if (receipt.rows_possibly_rebought > 0) {
      std::cout << ", at most " << Counted(receipt.rows_possibly_rebought, "row", "rows") << " bought a second time";
    }
    if (const std::vector<std::string> names = EndpointNames(receipt.endpoints); !names.empty()) {
      std::cout << ", by " << absl::StrJoin(names, ", ");
    }
    if (receipt.switched.has_value()) std::cout << ", targets complete at " << TimeText(*receipt.switched);
    std::cout << "\n";
  }
  if (stats.unreceipted_usd > 0) {
    std::cout << "money     at most " << MoneyText(stats.unreceipted_usd)
              << " beside these: of runs that were killed, and of requests without an answer\n";
  }
  if (stats.texts_damaged > 0) {
    std::cout << "damaged   " << Counted(stats.texts_damaged, "kept vector", "kept vectors")
              << " so far, bought again where a row needs it\n";
  }
  if (const int64_t in_flight = stats.texts_possibly_rebought - stats.texts_damaged; in_flight > 0) {
    std::cout << "killed    at most " << Counted(in_flight, "text", "texts")
              << " bought a second time, as they were in flight\n";
  }
  for (const RejectedRow& row : rejects) std::cout << RejectText(row) << "\n";
  const auto all = stats.rejected_rows + stats.refused_rows;
  if (all > static_cast<int64_t>(rejects.size())) {
    std::cout << "... and " << WithCommas(all - static_cast<int64_t>(rejects.size())) << " more: --rejects " << all
              << "\n";
  }
  if (all > 0)
    std::cout << "to try them again, after a change of their text or of a limit: reembed retry-rejects " << dir << "\n";
  std::cout << std::flush;
}

void PrintJson(const std::string& dir, const JobReader& job, const JobStats& stats,
               const std::vector<RejectedRow>& rejects, const std::vector<TargetState>& targets) {
  for (const RejectedRow& row : rejects) std::cout << RejectJson(row).ToString() << "\n";
  for (const Receipt& receipt : stats.receipts) {
    JsonLine line("receipt");
    line.Add("run", receipt.run)
        .Add("started", absl::FormatTime(receipt.started))
        .Add("ended", absl::FormatTime(receipt.ended))
        .Add("outcome", OutcomeWord(receipt.outcome))
        .Add("model", job.identity().model)
        .Add("dimensions", job.identity().dim)
        .Add("rows_embedded", receipt.rows_embedded)
        .Add("rows_rejected", receipt.rows_rejected)
        .Add("rows_possibly_rebought", receipt.rows_possibly_rebought)
        .Add("requests", receipt.requests)
        .Add("requests_retried", receipt.requests_retried)
        .Add("http_429", receipt.http_429)
        .Add("tokens", receipt.tokens)
        .Add("cost_usd", receipt.cost_usd)
        .AddRaw("switched",
                receipt.switched.has_value() ? absl::StrCat("\"", absl::FormatTime(*receipt.switched), "\"") : "null")
        .AddRaw("endpoints", receipt.endpoints.empty() ? "[]" : receipt.endpoints);
    std::cout << line.ToString() << "\n";
  }
  for (const TargetState& target : targets) {
    JsonLine line("target");
    line.Add("target", target.name)
        .Add("position", target.position)
        .Add("state", TargetStateWord(target))
        .Add("rows", target.rows)
        .Add("of", target.of);
    std::cout << line.ToString() << "\n";
  }
  const JobIdentity& id = job.identity();
  const JobCounts counts = CountsOf(stats);
  JsonLine line("summary");
  line.Add("job", dir)
      .Add("source", id.source)
      .Add("selection", id.selection)
      .Add("model", id.model)
      .Add("dimensions", id.dim)
      .Add("rows_selected", counts.rows)
      .Add("rows_pending", counts.rows_pending)
      .Add("rows_rejected", counts.rows_rejected)
      .Add("rows_gone", counts.rows_gone)
      .Add("texts_unique", counts.texts)
      .Add("texts_possibly_rebought", counts.texts_possibly_rebought)
      .Add("texts_damaged", counts.texts_damaged)
      .Add("unreceipted_usd", stats.unreceipted_usd)
      .Add("texts_kept", counts.texts_kept);
  std::cout << line.ToString() << std::endl;
}

// What a rollback would put back, or that there was one.
absl::Status ShowUndo(const std::string& dir, const JobStats& stats, bool json) {
  if (stats.rolled_back.has_value()) {
    if (json) {
      std::cout << JsonLine("rollback").Add("time", absl::FormatTime(*stats.rolled_back)).ToString() << "\n";
    } else {
      std::cout << "rollback  " << TimeText(*stats.rolled_back)
                << ": targets hold what they held before; `reembed run` writes the vectors again, without buying\n";
    }
    return absl::OkStatus();
  }
  const absl::StatusOr<std::unique_ptr<LedgerConnection>> undo = OpenUndo(dir);
  if (absl::IsNotFound(undo.status())) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(undo.status());
  ABSL_ASSIGN_OR_RETURN(const std::vector<UndoTarget> targets, ReadUndoTargets(undo->get()));
  if (targets.empty()) return absl::OkStatus();
  int64_t rows = 0;
  std::vector<std::string> objects;
  for (const UndoTarget& target : targets) {
    rows += target.rows;
    objects.push_back(JsonWriter().Add("target", target.name).Add("rows", target.rows).ToString());
  }
  if (json) {
    std::cout << JsonLine("undo")
                     .Add("rows", rows)
                     .Add("bytes", UndoBytes(dir))
                     .AddRaw("targets", JsonArray(objects))
                     .ToString()
              << "\n";
    return absl::OkStatus();
  }
  std::cout << "undo      " << Counted(rows, "row", "rows") << " as they were, " << BytesText(UndoBytes(dir))
            << ": `reembed rollback " << dir << "` puts them back\n";
  for (const UndoTarget& target : targets) {
    std::cout << "  " << (target.rows > 0 ? Counted(target.rows, "row", "rows") : "what was made or switched") << " of "
              << target.name << "\n";
  }
  return absl::OkStatus();
}

std::vector<std::string> NamesOf(const JobStats& stats) {
  std::vector<std::string> names;
  for (const auto& [name, position] : stats.sinks) names.push_back(name);
  return names;
}

absl::Status ShowJob(const std::string& dir, const StatusOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> job, JobReader::Open(dir));
  ABSL_ASSIGN_OR_RETURN(const JobStats stats, job->Stats());
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rejects, job->ListRejects(options.rejects));
  ABSL_ASSIGN_OR_RETURN(const TargetRecords records, ReadTargetRecords(dir));
  const std::vector<TargetState> targets = TargetStates(stats, records, NamesOf(stats));
  if (!options.json) {
    PrintText(dir, *job, stats, rejects, targets);
    return ShowUndo(dir, stats, false);
  }
  ABSL_RETURN_IF_ERROR(ShowUndo(dir, stats, true));
  PrintJson(dir, *job, stats, rejects, targets);
  return absl::OkStatus();
}

}  // namespace

ExitCode StatusCommand(const StatusOptions& options, const Environment& environment) {
  const StopSignals signals({.command = "status", .left = "nothing was changed", .json = options.json});
  if (!options.job.empty() && HasShards(options.job)) {
    const absl::Status shown = ShowShards(options.job, options.json);
    return shown.ok() ? kExitDone : Fail("status", shown, options.json);
  }
  if (!options.job.empty()) {
    const absl::StatusOr<std::vector<std::string>> folders = JobFolders(options.job);
    if (!folders.ok()) return Fail("status", folders.status(), options.json);
    for (const std::string& folder : *folders) {
      if (folder != folders->front() && !options.json) std::cout << "\n";
      if (absl::Status shown = ShowJob(folder, options); !shown.ok()) return Fail("status", shown, options.json);
    }
    return kExitDone;
  }
  if (absl::Status there = CheckJobsFolder(environment); !there.ok()) return Fail("status", there, options.json);
  const std::string folder = JobsFolder(environment);
  std::error_code ignored;
  int64_t jobs = 0;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (HasShards(entry.path().string())) {
      if (jobs++ > 0 && !options.json) std::cout << "\n";
      if (absl::Status shown = ShowShards(entry.path().string(), options.json); !shown.ok()) {
        Fail("status", shown, options.json);
      }
      continue;
    }
    const absl::StatusOr<std::vector<std::string>> folders = JobFolders(entry.path().string());
    if (!folders.ok()) continue;
    for (const std::string& job : *folders) {
      if (jobs++ > 0 && !options.json) std::cout << "\n";
      if (absl::Status shown = ShowJob(job, {.rejects = 0, .json = options.json}); !shown.ok()) {
        Fail("status", shown, options.json);
      }
    }
  }
  if (jobs == 0 && !options.json) std::cout << "no jobs in " << folder << std::endl;
  return kExitDone;
}

}  // namespace reembed
