// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_JOB_REPORT_H_
#define REEMBED_TOOLS_LIVE_JOB_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/live/report_page.h"

namespace reembed {

// What was asked of a job, what became of it, how its runs went, what they cost, and why rows have no vector: from its
// ledgers and the courses that its runs have left. Changes nothing. Errors: those of JobReader.
absl::StatusOr<ReportPage> ReportOf(const std::string& job);

// Writes the report of a job in the form that the path's end says, over what is there. Errors also: as WriteReport().
absl::Status WriteJobReport(const std::string& job, const std::string& path);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_JOB_REPORT_H_
