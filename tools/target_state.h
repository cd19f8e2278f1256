// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_TARGET_STATE_H_
#define REEMBED_TOOLS_TARGET_STATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "io/job/job_records.h"
#include "io/job/job_store.h"
#include "io/job/target_record.h"
#include "tools/resolve.h"
#include "tools/target_files.h"

// What a job's targets are, and whose: files are complete or absent, and belong to the job that has made them.
namespace reembed {

struct TargetState {
  enum class Kind {
    kNotBegun,
    kPartial,  // `rows` of `of` are in it, or in the file that becomes it
    kComplete,
    kGone,     // rows were in it, and its file is not there any more
    kForeign,  // somebody has changed or replaced its file
  };
  std::string name;
  Kind kind = Kind::kNotBegun;
  int64_t position = 0;  // of its sink in the job
  int64_t rows = 0;
  int64_t of = 0;
};

// Of the targets of a job: as its ledger knows them, or as it names them, also those that it has not come to. Looks at
// the files of those that are files.
std::vector<TargetState> TargetStates(const JobStats& stats, const TargetRecords& records,
                                      absl::Span<const std::string> names);

// For people; and the kind in one word, for programs.
std::string TargetStateText(const TargetState& state);
const char* TargetStateWord(const TargetState& state);

// All as one JSON array.
std::string TargetStatesJson(absl::Span<const TargetState> states);

// Whether each target that is a file is not there yet, or is as this job has left it. Changes nothing. Reads what the
// job's directory says, if there is one. Errors: kInvalidArgument (names the file and what to do).
absl::Status CheckFileTargets(const ResolvedJob& job);

// Before a run: takes the places of its files, so that no other job comes to them, not even after a kill, and notes
// that a run is at work. `before`: what the job holds; `expected_rows`: of the run; `locks`: of the job's targets,
// taken before CheckFileTargets(). Errors: of the ledger and of the files.
absl::Status ClaimTargets(const ResolvedJob& job, const JobStats& before, int64_t expected_rows,
                          const TargetLocks& locks, JobStore* store);

// After it, however it ended. `rows`: of the job, if all targets are complete; else -1.
absl::Status ReleaseTargets(const ResolvedJob& job, int64_t rows, const TargetLocks& locks);

}  // namespace reembed

#endif  // REEMBED_TOOLS_TARGET_STATE_H_
