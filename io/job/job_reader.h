// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_JOB_READER_H_
#define REEMBED_IO_JOB_JOB_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/ledger.h"
#include "io/job/job_records.h"
#include "io/job/kept_vectors.h"
#include "io/job/ledger_sql.h"
#include "io/job/ledger_tables.h"
#include "io/job/slot_states.h"
#include "io/job/vector_file.h"

namespace reembed {

struct VectorCheck {
  int64_t texts = 0;               // whose vectors were read
  std::vector<SlotRange> damaged;  // slots whose vectors are not what was persisted; in format 1 all of a run
};

// A job directory as it was when this was opened. Takes no lock, changes nothing, and may be used during a run.
// Used by one thread.
class JobReader {
 public:
  // Errors: kNotFound (no job there), kFailedPrecondition (of a newer format, or not a job directory), kDataLoss.
  static absl::StatusOr<std::unique_ptr<JobReader>> Open(const std::string& dir);

  const JobIdentity& identity() const { return head_.identity; }
  KeepVectors keep_vectors() const { return head_.keep_vectors; }
  int64_t rows() const { return rows_; }

  // The rows from ordinal `from` on. No slot is kClaimed. If no vectors are persisted, kKept is what every sink has.
  // The cursor must not outlive this.
  absl::StatusOr<std::unique_ptr<LedgerCursor>> Scan(int64_t from) const;

  // Reads all rows.
  absl::StatusOr<JobStats> Stats();

  // How many texts the last run that began may have in flight; they count as possibly bought twice when it ends without
  // closing the job. 0: it has closed it.
  absl::StatusOr<int64_t> TextsInFlight() const;

  // By ordinal, at most `limit`.
  absl::StatusOr<std::vector<RejectedRow>> ListRejects(int64_t limit);

  // The slot of a row's text; -1: it has none. Errors: kNotFound (no such row).
  absl::StatusOr<int64_t> FindSlot(int64_t ordinal) const;

  // The vector of a slot that is kKept, [dim]. Errors: kNotFound (not persisted), kDataLoss (it is damaged).
  absl::Status ReadVector(int64_t slot, absl::Span<float> vector) const;

  // Reads every persisted vector and compares it with its checksum.
  absl::StatusOr<VectorCheck> CheckVectors() const;

 private:
  explicit JobReader(const std::string& dir) : dir_(dir) {}
  absl::Status Load();
  SlotState StateOf(const LedgerRow& row) const;

  const std::string dir_;
  std::unique_ptr<LedgerConnection> ledger_;
  mutable LedgerStatement find_slot_;
  LedgerHead head_;
  std::unique_ptr<VectorFile> vectors_;  // null if there are none
  std::unique_ptr<KeptVectors> kept_;    // likewise
  std::vector<KeptRun> runs_;
  SlotStates states_;
  int64_t rows_ = 0;
  int64_t done_rows_ = 0;  // that every sink has; if no vectors are kept
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_JOB_READER_H_
