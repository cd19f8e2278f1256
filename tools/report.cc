// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "absl/status/statusor.h"
#include "tools/commands.h"
#include "tools/live/job_report.h"
#include "tools/live/report_page.h"
#include "tools/output.h"

namespace reembed {

ExitCode ReportCommand(const ReportOptions& options) {
  if (!options.to.empty()) {
    const absl::Status written = WriteJobReport(options.job, options.to);
    if (!written.ok()) return Fail("report", written, false);
    std::cerr << "wrote " << options.to << std::endl;
    return kExitDone;
  }
  const absl::StatusOr<ReportPage> page = ReportOf(options.job);
  if (!page.ok()) return Fail("report", page.status(), false);
  std::cout << MarkdownOf(*page) << std::flush;
  return kExitDone;
}

}  // namespace reembed
