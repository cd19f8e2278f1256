// SPDX-License-Identifier: Apache-2.0
#include "tools/run_report.h"

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tools/format.h"
#include "tools/output.h"
#include "tools/streams.h"

namespace reembed {
namespace {

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
                          absl::IsFailedPrecondition(outcome.record.status()) ? "" : "; run the same command again")),
         job.options.json);
  }
}

// Whether a run had nothing to embed, and nothing to write either.
bool IsIdle(const RunOutcome& outcome) {
  return outcome.run.texts_embedded == 0 && outcome.after.rows == outcome.before.rows &&
         outcome.after.sinks == outcome.before.sinks;
}

}  // namespace

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

RunReport::RunReport(const CommandOptions& options, const std::vector<Prepared>& all)
    : options_(options),
      several_(!all.front().job.stream.empty()),
      directory_(several_ ? std::filesystem::path(all.front().job.directory).parent_path().string()
                          : all.front().job.directory) {}

bool RunReport::Add(const Prepared& prepared, const RunOutcome& outcome) {
  if (added_.exchange(&prepared) == &prepared) return false;
  PrintTroubles(prepared.job, outcome);
  const ExitCode code = CodeOf(outcome);
  if (options_.json) {
    if (outcome.record.ok() && !outcome.record->empty()) {
      std::cout << JsonLine("record").Add("memory", *outcome.record).ToString() << "\n";
    }
    if (several_) {
      std::cout << SummaryJson("stream", prepared.job.stream, prepared.job.directory, outcome, code) << std::endl;
    }
  } else if (!options_.quiet) {
    PrintSummaryText(prepared.job, outcome);
  }
  reembed::Add(outcome, &total_);
  code_ = WorseOf(code_, code);
  idle_ = idle_ && IsIdle(outcome);
  return true;
}

void RunReport::LeaveOut(const Prepared& prepared, ExitCode reason) {
  code_ = WorseOf(code_, reason);
  if (code_ == kExitDone || code_ == kExitRejectedRows) return;  // nobody asked for more
  total_.run.rows_left += std::max(prepared.preflight.rows_selected, prepared.before.rows_pending);
}

std::string RunReport::Summary() const { return SummaryJson("summary", "", directory_, total_, code_); }

ExitCode RunReport::Finish() {
  if (options_.error_on_nothing && idle_ && code_ == kExitDone) code_ = kExitNothing;
  if (options_.accept_rejects && code_ == kExitRejectedRows) code_ = kExitDone;
  if (options_.json) std::cout << Summary() << std::endl;
  return code_;
}

}  // namespace reembed
