// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RUN_REPORT_H_
#define REEMBED_TOOLS_RUN_REPORT_H_

#include <atomic>
#include <string>
#include <vector>

#include "tools/exit_code.h"
#include "tools/options.h"
#include "tools/prepare_run.h"
#include "tools/run_summary.h"

namespace reembed {

// What there is to say before the work of a stream begins.
void PrintHead(const Prepared& prepared);

// How all streams end together.
class RunReport {
 public:
  // `options` is borrowed.
  RunReport(const CommandOptions& options, const std::vector<Prepared>& all);

  // Says what a stream did, once: the run may be ended while that is being said. Whether it did so.
  bool Add(const Prepared& prepared, const RunOutcome& outcome);
  // A stream that was not begun: for this reason, or for that of one before it.
  void LeaveOut(const Prepared& prepared, ExitCode reason);
  // Says what all did.
  ExitCode Finish();
  // The same as one line of JSON, once it is finished.
  std::string Summary() const;

  const RunOutcome& total() const { return total_; }
  // Of the job, above those of its streams.
  const std::string& directory() const { return directory_; }

 private:
  const CommandOptions& options_;
  const bool several_;
  const std::string directory_;
  std::atomic<const Prepared*> added_{nullptr};
  RunOutcome total_;
  bool idle_ = true;  // no stream has done anything yet
  ExitCode code_ = kExitDone;
};

}  // namespace reembed

#endif  // REEMBED_TOOLS_RUN_REPORT_H_
