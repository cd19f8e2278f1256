// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_JOB_PARTS_H_
#define REEMBED_TOOLS_JOB_PARTS_H_

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "tools/resolve.h"
#include "tools/signals.h"
#include "tools/source_bench.h"

// How fast each part of a planned job is by itself, which says where the job is narrow.
namespace reembed {

// One part, as it was measured.
struct JobPart {
  enum class Kind { kSource, kQuota, kEndpoint, kTarget, kIndex };
  Kind kind = Kind::kSource;
  std::string place;
  double rows_per_second = 0;
  std::string how;         // what the figure rests on, for people
  bool projected = false;  // it was measured with less than the job has, and reckoned up
  std::string advice;      // what makes it wider
  absl::Status failure;    // it could not be measured
};
const char* PartName(JobPart::Kind kind);  // "source", "quota", "endpoint", "target", "index"

struct PartsOptions {
  absl::Duration time;     // for each measure
  int64_t most_rows = 0;   // that a target gets
  int64_t max_tokens = 0;  // that the endpoint may be sent; 0: any number, where it costs nothing
};

struct SourceParts {
  JobPart part;
  SourceReading reading;
  int64_t rows = -1;  // of the job that are still to do; -1: not known
};
// Reads what the job would read, also rows that have their vector.
SourceParts MeasureJobSource(const ResolvedJob& job, const PartsOptions& options, const std::stop_token& stop);

struct EndpointParts {
  JobPart part;
  std::optional<JobPart> quota;  // where the job names one
  int64_t tokens = 0;            // that were used
};
// Sends made-up texts, as long as those of `reading`, to the first endpoint of the job: with as many texts a request
// and requests at a time as the job has, or fewer where max_tokens is too little for that. `signals`: stop it as a run.
EndpointParts MeasureJobEndpoint(ResolvedJob job, const SourceReading& reading, const PartsOptions& options,
                                 StopSignals* signals);
// What the quota lets through by itself, by the lengths of `reading`. nullopt: the job names none.
std::optional<JobPart> QuotaPart(const ResolvedJob& job, const SourceReading& reading, double tokens_per_text);

// Writes to a place like the target; the second part is what comes once at its end, where that is an index.
std::vector<JobPart> MeasureJobTarget(const ResolvedJob& job, const Store& target, const PartsOptions& options,
                                      const std::stop_token& stop);

// The part that bounds the job; of two within 5 % the first. nullptr: none was measured.
const JobPart* FindNarrowest(absl::Span<const JobPart> parts);

// That it costs nothing to send texts to what embeds the job.
bool EmbedsForFree(const ResolvedJob& job);

}  // namespace reembed

#endif  // REEMBED_TOOLS_JOB_PARTS_H_
