// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_JOB_ROLLBACK_H_
#define REEMBED_IO_JOB_JOB_ROLLBACK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/undo_log.h"
#include "io/job/job_lock.h"
#include "io/job/job_reader.h"
#include "io/job/undo_store.h"

namespace reembed {

// A job whose targets are being put back to what they were; holds the job's lock. Used by one thread.
class JobRollback {
 public:
  // Errors: kNotFound (no job there, or nothing was kept), kAborted (in use by a run), as JobReader and OpenUndo.
  static absl::StatusOr<std::unique_ptr<JobRollback>> Begin(const std::string& dir);

  // The newest first, which is the order in which to put them back.
  absl::Span<const UndoTarget> targets() const { return targets_; }

  // What was kept of a target. The reader must not outlive this, nor *report. A row of which what was kept, or the
  // vector that the job has written to it, is damaged is passed over, and left in *report: nothing certain can be put
  // back. A damaged note is kDataLoss.
  absl::StatusOr<std::unique_ptr<UndoReader>> Read(const UndoTarget& target, RollbackReport* report) const;

  const JobIdentity& identity() const { return job_->identity(); }

  // All targets hold what they held: the ledger says so from now on, and the next run begins with their first row
  // again, from the vectors that are kept. What was put back stays in JOB/undo.db until that run.
  absl::Status Finish(absl::Time when);

 private:
  explicit JobRollback(const std::string& dir) : dir_(dir) {}

  const std::string dir_;
  std::unique_ptr<JobLock> lock_;
  std::unique_ptr<JobReader> job_;
  std::unique_ptr<LedgerConnection> ledger_;
  std::unique_ptr<LedgerConnection> undo_;
  std::vector<UndoTarget> targets_;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_JOB_ROLLBACK_H_
