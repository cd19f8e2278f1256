// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RUN_SUMMARY_H_
#define REEMBED_TOOLS_RUN_SUMMARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/model_sample.h"
#include "engine/run_snapshot.h"
#include "io/job/job_records.h"
#include "tools/exit_code.h"
#include "tools/resolve.h"
#include "tools/target_state.h"

namespace reembed {

inline constexpr int64_t kRejectsNamed = 10;  // in a summary

// What one run did, when it has ended.
struct RunOutcome {
  RunSnapshot run;
  JobStats before, after;        // the ledger
  int64_t rows_unaccounted = 0;  // still without a vector in the table, and not rejected
  int64_t rows_emptied = 0;      // of them: that the job had written
  std::string unaccounted;       // what people should know of them
  int64_t rows_foreign = 0;      // that this run has written and that hold another vector now
  std::string foreign;           // what people should know of them; empty: nobody else can have written there
  int servings = 1;              // of the targets; more: a server may have lost what it had, and was served again
  // What the table itself says at the end, of all rows that the source selects; 0 of 0: it is no table, or not counted.
  bool in_place = false;       // the rows' own table is filled
  bool may_hide_rows = false;  // that table's kind knows rows that not everybody sees
  int64_t table_rows = 0;
  int64_t table_rows_with_vector = 0;
  HiddenRows hidden;                 // of that table
  int64_t unknown_model_rows = 0;    // that had a vector before, of a model that nobody has recorded
  std::string unknown_model_job;     // that has put vectors of another model there; empty: none is known
  SampleVerdict sample;              // of those; nothing compared: nobody had to
  std::vector<RejectedRow> rejects;  // the first of those without a vector, at most kRejectsNamed
  std::vector<TargetState> targets;  // as they are at the end
  int signal = 0;                    // that ended it; 0: none
  absl::Status status;
  std::optional<absl::Time> switched;                  // when all targets had become complete and visible
  absl::StatusOr<std::string> record = std::string();  // the memory with the receipt, if this run has made one
};

// Adds what another stream did.
void Add(const RunOutcome& from, RunOutcome* to);

// What a ledger says, as a snapshot has it.
JobCounts CountsOf(const JobStats& stats);
// Likewise, one of them.
int64_t DoneRows(const JobStats& stats);
int64_t RejectedRows(const JobStats& stats);

ExitCode CodeOf(const RunOutcome& outcome);

// One line. `stream` empty: of the whole job. What says nothing of its kind of target is left out.
std::string SummaryJson(absl::string_view type, absl::string_view stream, const std::string& directory,
                        const RunOutcome& outcome, ExitCode code);
// For people: to standard error where vectors go to standard output.
void PrintSummaryText(const ResolvedJob& job, const RunOutcome& outcome);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RUN_SUMMARY_H_
