// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SAVED_PLAN_H_
#define REEMBED_TOOLS_SAVED_PLAN_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tools/option_table.h"
#include "tools/options.h"
#include "tools/plan_numbers.h"

// A plan as a file, between `plan --out FILE` and `run --plan FILE`: the options, and what was found with them.
namespace reembed {

// Whether a plan says this option: it decides what is done. Others belong to each command (how it shows its progress,
// whom it notifies).
bool IsPlanned(const OptionEntry& entry);

// What was found of one stream.
struct PlannedStream {
  std::string stream;  // empty: it is the only one
  std::string source, selection, recipe, model, normalization;
  int dim = 0;
  std::string directory;  // of the job
  std::vector<std::string> targets;
  std::vector<std::string> changes;  // of targets, as `plan` prints them
  int64_t rows = 0, rows_rejected = 0, rows_changed = 0, rows_lost = 0;
  int64_t texts = 0, tokens = 0, requests = 0;
  std::string contents;                // of PlanNumbers, hexadecimal
  std::string usd_per_million_tokens;  // empty: nobody knows
};
PlannedStream PlannedStreamOf(const ResolvedJob& job, const Preflight& preflight, const PlanNumbers& numbers);

// Writes the plan, in one step. `options`: of the command, with all layers.
// Errors: kInvalidArgument (an option holds a password, or a source can be read only once); kAlreadyExists (`path` is
// there and no plan).
absl::Status WritePlan(const std::string& path, const CommandOptions& options, absl::Span<const PlannedStream> streams);

// The options of a plan. Errors: kNotFound, kInvalidArgument (it is none).
absl::StatusOr<CommandOptions> ReadPlannedOptions(const std::string& path);

// Whether what the plan found is so still. A job that has begun with this plan goes on with it: of that only model,
// price and places are compared. Reads the sources of the others once.
// Errors: kFailedPrecondition (names all that is another now); those of reading.
absl::Status CheckPlanFits(const std::string& path, const std::vector<ResolvedJob>& jobs, const TokenCounting* counting,
                           const Environment& environment);

// Likewise of a job whose shares several processes do: the first that comes looks at the whole job, under the lock of
// the folder of all shares, and notes there that it has begun; the others come after it.
absl::Status CheckPlanFitsShares(const std::string& path, const ResolvedJob& share, const TokenCounting* counting,
                                 const Environment& environment);

// Notes in the job's directory that it has begun with this plan. Errors: of the files.
absl::Status KeepPlan(const std::string& path, const ResolvedJob& job);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SAVED_PLAN_H_
