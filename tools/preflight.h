// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PREFLIGHT_H_
#define REEMBED_TOOLS_PREFLIGHT_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/pipeline.h"
#include "engine/survey.h"
#include "tools/resolve.h"

namespace reembed {

// The parts of a job, opened and checked against what is really there. Nothing is written or sent.
struct Preflight {
  std::unique_ptr<Source> source;
  std::unique_ptr<Source> lookup;                  // of all rows, to find single ones; null until a run makes it
  std::vector<std::unique_ptr<VectorSink>> sinks;  // in the order of ResolvedJob::targets
  std::optional<Survey> survey;                    // of an in-place job: what its table holds now
  std::vector<std::string> changes;                // what a run will change besides adding vectors, for people
  std::vector<std::string> remarks;                // what was found there besides, for people
  int64_t rows_selected = -1;                      // -1: not known without reading (standard input)
};

// Errors: what the parts say of themselves; kFailedPrecondition (the vectors that are there have another width, or
// are of another model, and would be mixed with the new ones).
absl::StatusOr<Preflight> Check(const ResolvedJob& job);

// One text sent to the API of a job that has bought nothing yet: its key, its model and the width of its vectors are
// checked before any target is written. Turns to numbers where the API refuses base64.
struct LiveProbe {
  std::string note;   // what it showed, for people; empty: nothing was sent, as for the built-in embedder
  ClientStats stats;  // what it cost
};
// Errors: as ProbeApi(); kFailedPrecondition (the width is another than the targets are to get).
absl::StatusOr<LiveProbe> ProbeEmbedder(ResolvedJob* job);

// Whether a run keeps what it overwrites in `target`, so that `reembed rollback` can put it back.
bool KeepsUndo(const ResolvedJob& job, const Store& target);

// What the source's table holds now, for an in-place job.
absl::StatusOr<Survey> SurveyTable(const ResolvedJob& job);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PREFLIGHT_H_
