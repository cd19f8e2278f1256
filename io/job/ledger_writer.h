// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_LEDGER_WRITER_H_
#define REEMBED_IO_JOB_LEDGER_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/ledger.h"
#include "io/job/job_records.h"
#include "io/job/ledger_changes.h"
#include "io/job/ledger_sql.h"
#include "io/job/ledger_tables.h"

namespace reembed {

// Writes changes to the tables of an open ledger. Used by one thread at a time.
class LedgerWriter {
 public:
  // `ledger` is borrowed.
  static absl::StatusOr<std::unique_ptr<LedgerWriter>> Create(LedgerConnection* ledger);

  // All of them or none, durable when it returns OK.
  // Errors: those of LedgerConnection; kResourceExhausted says how many bytes are needed.
  absl::Status Commit(const LedgerChanges& changes);

  // A run begins: counts it, marks the ledger as not cleanly ended, forgets the damaged vectors, and completes
  // the rejects of rows whose text was rejected just before a crash. After a run that was killed, adds what that one
  // can have had in flight to what may be bought again. Returns the number of the run, from 1.
  // `kept`: the texts whose vectors are there, damaged ones included.
  absl::StatusOr<int64_t> BeginRun(absl::Span<const SlotRange> damaged, int64_t kept, int64_t texts_in_flight);

  // The targets were put back: each begins again at row 0; what they refused and are owed is forgotten. Durable.
  absl::Status RecordRollback(absl::Span<const std::string> targets, absl::Time when);

  // The run ended by itself: marks that and moves the log into the main file.
  absl::Status EndRun();

 private:
  explicit LedgerWriter(LedgerConnection* ledger) : ledger_(ledger) {}
  absl::Status Prepare();
  absl::Status WriteAll(const LedgerChanges& changes);
  absl::Status WriteRows(const LedgerChanges& changes);
  absl::Status WriteOwed(const LedgerChanges& changes);
  absl::Status WriteTexts(const LedgerChanges& changes);
  absl::Status WriteKept(const KeptRun& run);
  // The slots are kept no more; targets that have their vectors are owed the new ones, so that all have the same.
  absl::Status DropKept(absl::Span<const SlotRange> damaged);
  absl::Status DropFromRuns(const SlotRange& damaged);
  absl::Status WriteRejects(const LedgerChanges& changes);
  absl::Status WriteProgress(const LedgerChanges& changes);
  absl::Status WriteBegin(absl::Span<const SlotRange> damaged);
  absl::Status NoteWhatAKillCosts(bool was_killed, int64_t kept, int64_t texts_in_flight);
  absl::Status SettleKills();
  absl::Status AddToMeta(absl::string_view key, int64_t more);
  absl::Status SetMeta(absl::string_view key, int64_t value);

  // Runs `body` between BEGIN and COMMIT; rolls back if anything fails.
  template <typename Body>
  absl::Status InTransaction(Body body);

  LedgerConnection* const ledger_;
  int format_ = kLedgerFormat;
  int64_t run_ = 0;  // the run that writes, since BeginRun()
  LedgerStatement begin_, commit_, rollback_;
  LedgerStatement insert_row_, move_row_, insert_text_, insert_kept_, insert_text_reject_, insert_reject_,
      delete_reject_, delete_all_rejects_, insert_owed_, insert_owed_by_all_, delete_owed_, settle_, insert_position_,
      insert_receipt_, insert_receipt_details_, insert_meta_, count_attempt_, forget_attempts_;
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_LEDGER_WRITER_H_
