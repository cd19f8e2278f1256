// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RECORD_H_
#define REEMBED_TOOLS_RECORD_H_

#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/pipeline.h"
#include "engine/run_record.h"
#include "io/job/job_store.h"
#include "tools/resolve.h"

// --record: the receipt of a job as a memory of the system.
namespace reembed {

// What the receipts of the job say. The same job has the same id, whenever it is asked.
RunRecord RecordOf(const ResolvedJob& job, const JobStats& stats);

// Stores the record of a job whose rows are all done: as a row of its source, which then gets its vector as every other
// row has got one. Once for a job; what a killed run has left of it is completed. `run`: the parts of the run that has
// ended; their source and sinks are not used again, but the names and logs of these. Returns the id of the new row;
// empty: it is there already, or the job has no rows.
// Errors: of the source, and as RunPipeline.
absl::StatusOr<std::string> SaveRecord(const ResolvedJob& job, JobStore* store, const PipelineOptions& options,
                                       PipelineParts run, std::stop_token stop);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RECORD_H_
