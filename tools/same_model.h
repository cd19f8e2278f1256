// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_SAME_MODEL_H_
#define REEMBED_TOOLS_SAME_MODEL_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/embedding_client.h"
#include "engine/model_sample.h"
#include "engine/survey.h"
#include "io/job/job_records.h"
#include "tools/resolve.h"
#include "tools/token_counting.h"

// Vectors of two models cannot be compared, so a column holds those of one. What is known of the vectors that an
// in-place job finds, and what is done where nobody knows who made them.
namespace reembed {

// What the table itself says: widths, and the models in its model column. Errors: kFailedPrecondition (vectors of
// another width or model are there and would be mixed with the new ones).
absl::Status CheckRecordedModel(const ResolvedJob& job, const Survey& survey);

// What was found where a job is to put its vectors, and would not replace.
struct UnknownModel {
  int64_t rows = 0;      // selected ones with a vector that neither the table nor the job says its model has made
  int64_t lacking = 0;   // selected ones that have none
  int64_t pending = 0;   // numbered by the job, not in its target yet: written whatever they hold
  int64_t filled = 0;    // selected ones that have one, whoever made it
  int64_t accepted = 0;  // of those: earlier runs of the job took them for its model's
  std::string other;     // of a job that has put vectors of another model or recipe there; empty: none is known

  // Rows that lack a vector get one beside them. Without such rows, pending ones of a job that replaced everything
  // until it was stopped do, if there are others than those, which may hold its own vectors.
  bool would_mix() const { return rows > 0 && (lacking > 0 || (pending > 0 && rows > pending)); }
};

// `own`: what the job has written so far; nullopt: nothing. `jobs_folder`: where other jobs are that may have written
// to the same place. All zeros for a job that replaces everything.
UnknownModel FindUnknownModel(const ResolvedJob& job, const Survey& survey, const std::optional<JobStats>& own,
                              const std::string& jobs_folder);

// One line for people, of what `plan` can say of it; empty: nothing is to be said.
std::string UnknownModelText(const ResolvedJob& job, const UnknownModel& unknown);

struct ModelSample {
  SampleVerdict verdict;
  std::string note;   // for people; empty: nothing was compared, as no row has a text to embed
  ClientStats stats;  // what it cost
};

// Embeds the texts of some rows that have a vector once more, and compares: whether the job may add its own beside
// them. Sends one request. The job's directory remembers that it may.
// Errors: kFailedPrecondition (another model, or it cannot be told, and what to do); of the store and the API.
absl::StatusOr<ModelSample> CompareWithStored(const ResolvedJob& job, const UnknownModel& unknown,
                                              const TokenCounting& counting);

// The user has said that he wants both in one column: the job's directory remembers that.
absl::Status AcceptUnknownModel(const ResolvedJob& job, const UnknownModel& unknown);

}  // namespace reembed

#endif  // REEMBED_TOOLS_SAME_MODEL_H_
