// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/canary.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "io/job/job_reader.h"
#include "io/job/job_store.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/place.h"
#include "tools/registry.h"
#include "tools/resolve.h"
#include "tools/shard_checks.h"
#include "tools/signals.h"
#include "tools/stage_progress.h"
#include "tools/streams.h"
#include "tools/verification.h"

namespace reembed {
namespace {

absl::StatusOr<ResolvedJob> ResolveAgain(const std::string& folder, const VerifyOptions& options,
                                         const Environment& environment) {
  CommandOptions asked;
  asked.job_file = folder + "/job.toml";
  asked.job = folder;
  asked.api_base = options.api_base;
  if (!options.api_base.empty()) asked.endpoints.clear();
  asked.api_key_env = options.api_key_env;
  asked.api_key_file = options.api_key_file;
  asked.api_key_cmd = options.api_key_cmd;
  ABSL_RETURN_IF_ERROR(ReadJobFile(&asked));
  return Resolve(asked, environment, options.sample > 0 ? KeyNeed::kWanted : KeyNeed::kNone);
}

// What was found in one folder of the job, or in the job itself.
struct Findings {
  Problems problems;
  std::vector<std::string> notes;
  VerifyCounts counts;
  std::map<std::string, std::vector<int64_t>> lost;  // as Verification has it
};

absl::StatusOr<Findings> VerifyFolder(const std::string& folder, const VerifyOptions& options,
                                      const Environment& environment) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> job, JobReader::Open(folder));
  ABSL_ASSIGN_OR_RETURN(const ResolvedJob resolved, ResolveAgain(folder, options, environment));
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rejects, job->ListRejects(job->rows() + 1));

  StageProgress progress(ProgressStyleOf(options.progress, options.quiet));
  Verification verification(job.get(), &resolved, &progress);
  ABSL_RETURN_IF_ERROR(verification.CheckStore());
  ABSL_RETURN_IF_ERROR(verification.CheckUndoLog(folder));
  for (const Store& target : resolved.targets) {
    if (target.kind->is_stream) continue;
    std::map<int64_t, std::string> refused;
    for (const RejectedRow& row : rejects) {
      if (IsNameOf(row.sink, target.location)) refused[row.ordinal] = row.sink;
    }
    ABSL_RETURN_IF_ERROR(verification.CheckTarget(target, refused));
  }
  ABSL_RETURN_IF_ERROR(verification.CheckSource());
  if (options.sample > 0) {
    ABSL_RETURN_IF_ERROR(verification.CheckSample(options.sample));
  }

  return Findings{verification.problems(), verification.notes(), verification.counts(), verification.lost()};
}

// Makes the job forget the vectors that are damaged, and owe its targets what they lack or hold otherwise; the run that
// follows buys the former again and writes both.
absl::Status ForgetWhatIsWrong(const std::string& folder, const Findings& found) {
  JobIdentity identity;
  KeepVectors keep_vectors;
  {
    ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<JobReader> job, JobReader::Open(folder));
    identity = job->identity();
    keep_vectors = job->keep_vectors();
  }
  ABSL_ASSIGN_OR_RETURN(
      const std::unique_ptr<JobStore> store,
      JobStore::Open(folder, identity, {.keep_vectors = keep_vectors, .check = JobOptions::Check::kEverything}));
  for (const auto& [target, ordinals] : found.lost) {
    if (keep_vectors == KeepVectors::kNever) break;  // there is nothing to write again
    for (const int64_t ordinal : ordinals) store->Owe(target, ordinal);
  }
  return store->Close();
}

// kExitDone and kExitRejectedRows: the run came to its end.
absl::StatusOr<ExitCode> RepairFolder(const std::string& folder, const VerifyOptions& options, const Findings& found,
                                      const Environment& environment) {
  CommandOptions run;
  run.job_file = folder + "/job.toml";
  run.job = folder;
  run.api_base = options.api_base;
  run.api_key_env = options.api_key_env;
  run.api_key_file = options.api_key_file;
  run.api_key_cmd = options.api_key_cmd;
  run.json = options.json;
  run.no_input = options.no_input;
  run.progress = options.progress;
  run.quiet = options.quiet;
  // What would keep the run from beginning is found before anything is forgotten.
  ABSL_RETURN_IF_ERROR(ReadJobFile(&run));
  ABSL_RETURN_IF_ERROR(ResolveStreams(run, environment).status());
  ABSL_RETURN_IF_ERROR(ForgetWhatIsWrong(folder, found));
  return RunCommand(run, environment);
}

// What was found of all folders.
struct Verdict {
  Problems problems;
  std::vector<std::string> notes;
  VerifyCounts counts;
  int64_t texts_repaired = 0;  // damaged ones, bought again
};

void PrintJson(const Verdict& verdict, const VerifyOptions& options, ExitCode code) {
  for (const std::string& line : verdict.counts.lines) std::cout << line << "\n";
  for (const std::string& problem : verdict.problems.shown) {
    std::cout << JsonLine("problem").Add("message", problem).ToString() << "\n";
  }
  JsonLine line("summary");
  line.Add("problems", verdict.problems.count)
      .Add("vectors_read", verdict.counts.vectors_read)
      .Add("texts_damaged", verdict.counts.texts_damaged)
      .Add("vectors_compared", verdict.counts.vectors_compared)
      .Add("texts_compared", verdict.counts.texts_compared);
  if (options.sample > 0) {
    line.Add("rows_resampled", verdict.counts.rows_resampled)
        .Add("rows_identical", verdict.counts.rows_identical)
        .Add("lowest_cosine", verdict.counts.lowest_cosine)
        .Add("least_cosine", kSameModelCosine);
  }
  if (options.repair) line.Add("texts_repaired", verdict.texts_repaired);
  line.Add("job", options.job).Add("exit_code", static_cast<int>(code));
  std::cout << line.ToString() << std::endl;
}

void PrintText(const Verdict& verdict, const VerifyOptions& options) {
  std::vector<std::string> notes = verdict.notes;
  if (verdict.texts_repaired > 0) {
    notes.push_back(Counted(verdict.texts_repaired, "kept vector was damaged, and bought again where a row needs it",
                            "kept vectors were damaged, and bought again where a row needs it"));
  }
  for (const std::string& note : notes) {
    if (!options.quiet) std::cout << note << "\n";
  }
  for (const std::string& problem : verdict.problems.shown) std::cout << "problem: " << problem << "\n";
  if (verdict.problems.count > static_cast<int64_t>(verdict.problems.shown.size())) {
    std::cout << "... and " << WithCommas(verdict.problems.count - static_cast<int64_t>(verdict.problems.shown.size()))
              << " more\n";
  }
  if (options.quiet && verdict.problems.count == 0) return;
  std::cout << (verdict.problems.count == 0 ? "everything is as the job left it"
                                            : Counted(verdict.problems.count, "problem", "problems"))
            << std::endl;
}

}  // namespace

ExitCode VerifyCommand(const VerifyOptions& options, const Environment& environment) {
  const auto fail = [&](const absl::Status& status) { return Fail("verify", status, options.json); };
  std::optional<StopSignals> signals;
  signals.emplace(StopWords{.command = "verify", .left = "nothing was changed", .json = options.json});
  const absl::StatusOr<std::vector<std::string>> folders = JobFolders(options.job);
  if (!folders.ok()) return fail(folders.status());
  Problems problems;
  std::vector<std::string> notes;
  VerifyCounts counts;
  int64_t repaired = 0;           // damaged texts, bought again
  ExitCode rejected = kExitDone;  // rows that a repair could not buy again
  if (absl::Status whole = CheckShards(
          options.job, environment, [&](std::string problem) { problems.Add(std::move(problem)); }, &notes);
      !whole.ok())
    return fail(whole);
  for (const std::string& folder : *folders) {
    absl::StatusOr<Findings> found = VerifyFolder(folder, options, environment);
    if (!found.ok()) return fail(found.status());
    if (options.repair && found->problems.count > 0) {
      for (const std::string& problem : found->problems.shown) {
        if (!options.quiet) Note("repairing " + problem, options.json);
      }
      signals.reset();  // the run has its own
      const absl::StatusOr<ExitCode> run = RepairFolder(folder, options, *found, environment);
      if (!run.ok()) return fail(run.status());
      if (*run != kExitDone && *run != kExitRejectedRows) return *run;
      rejected = WorseOf(rejected, *run);
      repaired += found->counts.texts_damaged;
      found = VerifyFolder(folder, options, environment);
      if (!found.ok()) return fail(found.status());
    }
    problems.shown.insert(problems.shown.end(), found->problems.shown.begin(), found->problems.shown.end());
    problems.count += found->problems.count;
    notes.insert(notes.end(), found->notes.begin(), found->notes.end());
    counts.Add(found->counts);
  }
  const ExitCode code = problems.count > 0 ? kExitMismatch : rejected;
  const Verdict verdict{.problems = std::move(problems),
                        .notes = std::move(notes),
                        .counts = std::move(counts),
                        .texts_repaired = repaired};
  if (options.json) {
    PrintJson(verdict, options, code);
  } else {
    PrintText(verdict, options);
  }
  return code;
}

}  // namespace reembed
