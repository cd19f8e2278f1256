// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_VERIFICATION_H_
#define REEMBED_TOOLS_VERIFICATION_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "io/job/job_reader.h"
#include "tools/format.h"
#include "tools/resolve.h"
#include "tools/stage_progress.h"

namespace reembed {

// The differences that were found: how many, and the words for the first of them.
struct Problems {
  int64_t count = 0;
  std::vector<std::string> shown;  // Add() fills it to 10

  void Add(std::string problem);
};

// How much was compared.
struct VerifyCounts {
  int64_t vectors_read = 0;      // from the job directory
  int64_t texts_damaged = 0;     // texts whose vector there does not have its checksum
  int64_t vectors_compared = 0;  // in all targets
  int64_t texts_compared = 0;    // of the source
  int64_t rows_resampled = 0;
  int64_t rows_identical = 0;      // resampled rows whose new vector is the same to the last bit
  double lowest_cosine = 1;        // of all resampled rows
  std::vector<std::string> lines;  // one of JSON for each target and for the source

  // Adds those of another folder of the job.
  void Add(const VerifyCounts& more);
};

// Compares one job directory with its targets and its source. Changes nothing. Every difference becomes a line of
// problems(), and is no error; errors are those of reading: of JobReader, VectorReader and Source.
class Verification {
 public:
  // All are borrowed. `progress` gets the current step.
  Verification(const JobReader* job, const ResolvedJob* resolved, StageProgress* progress)
      : job_(job), resolved_(resolved), progress_(progress) {}

  // Reads every vector of the job directory, and compares it with its checksum.
  absl::Status CheckStore();

  // Reads every row of the undo log in `folder`.
  absl::Status CheckUndoLog(const std::string& folder);

  // Compares every vector of the target with the job's. `refused`: ordinals of rows that the target did not take. A
  // target that cannot be opened is a problem.
  absl::Status CheckTarget(const Store& target, const std::map<int64_t, std::string>& refused);

  // Compares every text of the source with the one that was embedded; counts the rows of a table that is filled in
  // place.
  absl::Status CheckSource();

  // Embeds `sample` texts again, which costs money, and compares the vectors. Errors: also of the API;
  // kInvalidArgument (the job keeps no vectors).
  absl::Status CheckSample(int64_t sample);

  const Problems& problems() const { return problems_; }
  // What was compared, a line each, for people.
  const std::vector<std::string>& notes() const { return notes_; }
  const VerifyCounts& counts() const { return counts_; }

  // For each target by its name: ordinals of the rows that it lacks, or holds with another vector.
  const std::map<std::string, std::vector<int64_t>>& lost() const { return lost_; }

 private:
  absl::Status NameDamage(absl::Span<const SlotRange> damaged);
  std::string SourceName() const;  // without its parameters, which belong to the targets
  absl::Status CountTable(const std::string& place, JsonLine* line);
  absl::Status Read(const LedgerRow& row, std::vector<float>* vector) const {
    vector->resize(job_->identity().dim);
    return job_->ReadVector(row.slot, absl::MakeSpan(*vector));
  }

  const JobReader* const job_;
  const ResolvedJob* const resolved_;
  StageProgress* const progress_;
  Problems problems_;
  std::vector<std::string> notes_;
  VerifyCounts counts_;
  std::map<std::string, std::vector<int64_t>> lost_;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_VERIFICATION_H_
