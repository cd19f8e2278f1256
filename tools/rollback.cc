// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/job/job_rollback.h"
#include "tools/column_locks.h"
#include "tools/commands.h"
#include "tools/consent.h"
#include "tools/earlier_jobs.h"
#include "tools/format.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/resolve.h"
#include "tools/shard_parent.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"
#include "tools/streams.h"

namespace reembed {
namespace {

constexpr size_t kShownRows = 10;

// One target to put back.
struct Task {
  UndoTarget kept;
  Store store;
};

// One folder of the job, or the job itself, with its lock.
struct Folder {
  std::string path;
  std::unique_ptr<JobRollback> job;
  std::vector<Task> tasks;
};

// The rows of an undo log, counted as they are read.
class CountedUndoReader final : public UndoReader {
 public:
  // Both are borrowed.
  CountedUndoReader(UndoReader* below, std::function<void(int64_t rows)> count)
      : below_(below), count_(std::move(count)) {}

  absl::StatusOr<std::optional<OldRow>> Next() override {
    count_(rows_++);
    return below_->Next();
  }
  absl::StatusOr<std::optional<std::string>> FindNote(absl::string_view name) override {
    return below_->FindNote(name);
  }
  absl::StatusOr<std::optional<absl::Span<const float>>> WrittenVector(int64_t ordinal) override {
    return below_->WrittenVector(ordinal);
  }

 private:
  UndoReader* const below_;
  const std::function<void(int64_t rows)> count_;
  int64_t rows_ = 0;
};

absl::StatusOr<RollbackReport> RollBack(const Task& task, const RollbackOptions& options, UndoReader* old_rows) {
  StageProgress progress(ProgressStyleOf(options.progress, options.quiet));
  progress.At(PlaceName(task.store.location));
  CountedUndoReader counted(old_rows, [&](int64_t rows) { progress.Set("putting back", rows, task.kept.rows); });
  return task.store.kind->roll_back(task.store.location, &counted);
}

// What the job's own file says of the variables with secrets.
absl::StatusOr<SecretVariables> SecretVariablesOf(const std::string& folder) {
  CommandOptions asked;
  asked.job_file = folder + "/job.toml";
  if (!std::filesystem::exists(asked.job_file)) return SecretVariables();
  ABSL_RETURN_IF_ERROR(ReadJobFile(&asked));
  return SecretVariables{asked.db_token_env, asked.db_password_env};
}

absl::StatusOr<Folder> OpenFolder(const std::string& path, const Environment& environment) {
  Folder folder{.path = path};
  ABSL_ASSIGN_OR_RETURN(folder.job, JobRollback::Begin(path));
  ABSL_ASSIGN_OR_RETURN(const SecretVariables variables, SecretVariablesOf(path));
  for (const UndoTarget& kept : folder.job->targets()) {
    ABSL_ASSIGN_OR_RETURN(Location location, ParsePlace(kept.name, variables, environment));
    Store store = StoreOf(std::move(location));
    if (store.kind->roll_back == nullptr) {
      return absl::UnimplementedError(absl::StrCat(kept.name, ": this version cannot roll back such a target"));
    }
    folder.tasks.push_back({kept, std::move(store)});
  }
  return folder;
}

// All that have something to put back, the last first, since streams may share a table. One that has overwritten
// nothing holds up no other.
absl::StatusOr<std::vector<Folder>> OpenFolders(const std::string& job, const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(std::vector<std::string> paths, JobFolders(job));
  // Of shares the one that made what the targets lacked comes last, since the others filled it.
  const std::string preparer = PreparedBy(job);
  std::stable_partition(paths.begin(), paths.end(), [&](const std::string& path) {
    return std::filesystem::path(path).filename().string() == preparer;
  });
  std::vector<Folder> folders;
  absl::Status nothing;
  for (auto path = paths.rbegin(); path != paths.rend(); ++path) {
    absl::StatusOr<Folder> folder = OpenFolder(*path, environment);
    if (absl::IsNotFound(folder.status())) {
      nothing = folder.status();
      continue;
    }
    ABSL_RETURN_IF_ERROR(folder.status());
    folders.push_back(*std::move(folder));
  }
  if (folders.empty()) return nothing;
  return folders;
}

// Where another job has written to the same place since: rows that it has not reached would get what was there before
// this one. kFailedPrecondition names it.
absl::Status CheckNobodyWroteSince(const std::string& job, const Environment& environment,
                                   absl::Span<const Folder> folders) {
  const std::vector<std::string> with_jobs = {JobsFolder(environment),
                                              std::filesystem::absolute(job).lexically_normal().parent_path().string()};
  for (const Folder& folder : folders) {
    for (const Task& task : folder.tasks) {
      const std::vector<EarlierJob> own = FindEarlierJobs(task.store.location, {folder.path}, "").jobs;
      if (own.empty() || !own[0].began.has_value()) continue;
      for (const EarlierJob& other : FindEarlierJobs(task.store.location, with_jobs, job).jobs) {
        if (other.rolled_back.has_value() || other.rows == 0) continue;
        if (other.bought.value_or(absl::InfinitePast()) <= *own[0].began) continue;
        return absl::FailedPreconditionError(absl::StrCat(
            task.kept.name, ": the job ", other.directory, " has written to the same place since, ",
            absl::FormatTime("%Y-%m-%d %H:%M", *other.bought, absl::LocalTimeZone()),
            ", and the column would then have vectors of both; roll back that job first: reembed rollback ",
            other.directory, "; or with --force, which leaves and names each row that holds its vectors"));
      }
    }
  }
  return absl::OkStatus();
}

std::string WhatIsPutBack(const std::vector<Folder>& folders) {
  std::vector<std::string> parts;
  for (const Folder& folder : folders) {
    for (const Task& task : folder.tasks) {
      parts.push_back(absl::StrCat(Counted(task.kept.rows, "row", "rows"), " of ", task.kept.name));
    }
  }
  return absl::StrCat("restores what was there before the job: ", absl::StrJoin(parts, ", "));
}

void PrintText(const Task& task, const RollbackReport& report, size_t most_shown) {
  std::cout << "target " << task.kept.name << "\n  " << Counted(report.rows_restored, "row", "rows") << " put back, "
            << WithCommas(report.rows_unchanged) << (report.rows_unchanged == 1 ? " was" : " were")
            << " as before already\n";
  if (report.rows_gone > 0) std::cout << "  " << Counted(report.rows_gone, "row is", "rows are") << " gone since\n";
  if (report.rows_left > 0)
    std::cout << "  " << Counted(report.rows_left, "row stays", "rows stay") << " as they are:\n";
  const size_t shown = std::min(report.left.size(), most_shown);
  for (size_t i = 0; i < shown; ++i) {
    std::cout << "    row " << KeyText(ViewOf(report.left[i].key)) << ": " << report.left[i].reason << "\n";
  }
  if (report.rows_left > static_cast<int64_t>(shown)) {
    std::cout << "    ... and " << WithCommas(report.rows_left - static_cast<int64_t>(shown)) << " more\n";
  }
  for (const std::string& note : report.notes) std::cout << "  note: " << note << "\n";
  std::cout << std::flush;
}

void PrintJson(const Task& task, const RollbackReport& report) {
  for (const RollbackReport::Row& row : report.left) {
    JsonLine line("left");
    line.AddRaw("key", KeyJson(ViewOf(row.key))).Add("reason", row.reason).Add("target", task.kept.name);
    std::cout << line.ToString() << "\n";
  }
  JsonLine line("target");
  line.Add("target", task.kept.name)
      .Add("rows_restored", report.rows_restored)
      .Add("rows_unchanged", report.rows_unchanged)
      .Add("rows_gone", report.rows_gone)
      .Add("rows_left", report.rows_left)
      .Add("notes", absl::StrJoin(report.notes, "; "));
  std::cout << line.ToString() << std::endl;
}

// Puts all targets of a folder back, then says so in its ledger.
absl::Status RollBackFolder(const Folder& folder, const RollbackOptions& options, ColumnLocks* locks,
                            RollbackReport* total) {
  for (const Task& task : folder.tasks) {
    ABSL_RETURN_IF_ERROR(locks->Lock(task.store, folder.path).status());
    RollbackReport damaged;
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<UndoReader> old_rows, folder.job->Read(task.kept, &damaged));
    ABSL_ASSIGN_OR_RETURN(RollbackReport report, RollBack(task, options, old_rows.get()));
    for (const RollbackReport::Row& row : damaged.left) report.Leave(ViewOf(row.key), row.reason);
    report.rows_left += damaged.rows_left - static_cast<int64_t>(damaged.left.size());
    if (options.json) {
      PrintJson(task, report);
    } else if (!options.quiet || report.rows_left > 0) {
      PrintText(task, report, options.force ? report.left.size() : kShownRows);
    }
    total->rows_restored += report.rows_restored;
    total->rows_unchanged += report.rows_unchanged;
    total->rows_gone += report.rows_gone;
    total->rows_left += report.rows_left;
  }
  return folder.job->Finish(absl::Now());
}

}  // namespace

ExitCode RollbackCommand(const RollbackOptions& options, const Environment& environment) {
  const auto fail = [&](const absl::Status& status) { return Fail("rollback", status, options.json); };
  const StopSignals signals(
      {.command = "rollback", .left = "run the same command again to complete it", .json = options.json});
  const absl::StatusOr<std::vector<Folder>> folders = OpenFolders(options.job, environment);
  if (!folders.ok()) return fail(folders.status());
  const absl::Status alone = CheckNobodyWroteSince(options.job, environment, *folders);
  if (!alone.ok() && (!options.force || !absl::IsFailedPrecondition(alone))) return fail(alone);
  if (!alone.ok()) Note(alone.message(), options.json);
  const absl::Status consent =
      AskConsent(WhatIsPutBack(*folders), "to go on, say --yes", {options.yes, options.no_input});
  if (!consent.ok()) return fail(consent);
  RollbackReport total;
  ColumnLocks locks([&options](const std::string& note) { Note(note, options.json); });
  for (const Folder& folder : *folders) {
    if (absl::Status done = RollBackFolder(folder, options, &locks, &total); !done.ok()) return fail(done);
  }
  if (absl::Status forgotten = ForgetSharedSteps(options.job); !forgotten.ok()) return fail(forgotten);
  const ExitCode code = total.rows_left > 0 ? kExitRejectedRows : kExitDone;
  if (options.json) {
    JsonLine line("summary");
    line.Add("rows_restored", total.rows_restored)
        .Add("rows_unchanged", total.rows_unchanged)
        .Add("rows_gone", total.rows_gone)
        .Add("rows_left", total.rows_left)
        .Add("job", options.job)
        .Add("exit_code", static_cast<int>(code));
    std::cout << line.ToString() << std::endl;
  } else if (!options.quiet) {
    std::cout << "the job keeps its vectors: the same `reembed run` writes them again without buying" << std::endl;
  }
  return code;
}

}  // namespace reembed
