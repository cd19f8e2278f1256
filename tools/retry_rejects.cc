// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/job_reader.h"
#include "io/job/reject_retry.h"
#include "tools/commands.h"
#include "tools/consent.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/resolve.h"
#include "tools/streams.h"

namespace reembed {
namespace {

// The job as its own file describes it. What would keep the run from beginning is found before the reasons of the
// rejects are gone.
absl::StatusOr<CommandOptions> RunOptionsOf(const std::string& folder, const RetryRejectsOptions& options,
                                            const Environment& environment) {
  CommandOptions run = options.run;
  run.job_file = folder + "/job.toml";
  run.job = folder;
  ABSL_RETURN_IF_ERROR(ReadJobFile(&run));
  ABSL_RETURN_IF_ERROR(ResolveStreams(run, environment).status());
  return run;
}

absl::StatusOr<JobStats> StatsOf(const std::string& folder) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> reader, JobReader::Open(folder));
  return reader->Stats();
}

// A killed run has left rows undecided or targets behind. Of an earlier retry-rejects, which takes rows back before it
// tries them, nothing else tells. Targets that were put back are behind because somebody wanted them so.
bool IsUnfinished(const JobStats& stats) {
  if (stats.rows_pending > 0) return true;
  return !stats.rolled_back.has_value() && std::any_of(stats.sinks.begin(), stats.sinks.end(),
                                                       [&](const auto& sink) { return sink.second < stats.rows; });
}

// Who has put the old vectors back has not asked for those of all other rows with a few rejected ones.
absl::Status AskToWriteAgain(const std::string& folder, const JobStats& stats, const Consent& said) {
  if (!stats.rolled_back.has_value()) return absl::OkStatus();
  const int64_t rows = stats.rows - stats.rejected_rows;
  return AskConsent(
      absl::StrCat(folder, ": this job was rolled back; retry-rejects would also write the vectors of its ",
                   Counted(rows, "other row", "other rows"), " again"),
      "to go on, say --yes", said);
}

}  // namespace

ExitCode RetryRejectsCommand(const RetryRejectsOptions& options, const Environment& environment) {
  const auto fail = [&](const absl::Status& status) { return Fail("retry-rejects", status, options.run.json); };
  const absl::StatusOr<std::vector<std::string>> folders = JobFolders(options.job);
  if (!folders.ok()) return fail(folders.status());
  std::vector<CommandOptions> asked;
  for (const std::string& folder : *folders) {
    const absl::StatusOr<JobStats> stats = StatsOf(folder);
    if (!stats.ok()) return fail(stats.status());
    if (stats->rejected_rows + stats->refused_rows == 0 && !IsUnfinished(*stats)) continue;
    if (absl::Status consent = AskToWriteAgain(folder, *stats, {options.run.yes, options.run.no_input}); !consent.ok())
      return fail(consent);
    absl::StatusOr<CommandOptions> run = RunOptionsOf(folder, options, environment);
    if (!run.ok()) return fail(run.status());
    asked.push_back(*std::move(run));
  }
  if (asked.empty()) {
    if (options.run.json) {
      JsonLine line("summary");
      std::cout << line.Add("job", options.job).Add("rows_taken_back", 0).Add("exit_code", 0).ToString() << std::endl;
    } else {
      std::cout << "no row of this job is rejected" << std::endl;
    }
    return kExitDone;
  }
  ExitCode code = kExitDone;
  for (const CommandOptions& run : asked) {
    const absl::StatusOr<RejectRetry> taken = TakeBackRejects(run.job);
    if (!taken.ok()) return fail(taken.status());
    const int64_t rows = taken->rejected_rows + taken->refused_rows;
    if (options.run.json) {
      JsonLine line("taken_back");
      std::cout << line.Add("job", run.job).Add("rows_taken_back", rows).ToString() << std::endl;
    } else if (rows == 0 && !options.run.quiet) {
      std::cerr << "no row is rejected; going on with a run that has not come to its end" << std::endl;
    } else if (!options.run.quiet) {
      std::cerr << "trying " << Counted(rows, "rejected row", "rejected rows") << " again" << std::endl;
    }
    code = WorseOf(code, RunCommand(run, environment));
    if (IsInterrupted(code)) return code;
  }
  return code;
}

}  // namespace reembed
