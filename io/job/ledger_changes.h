// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_LEDGER_CHANGES_H_
#define REEMBED_IO_JOB_LEDGER_CHANGES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/key.h"
#include "engine/ledger.h"
#include "io/job/job_records.h"
#include "io/job/ledger_tables.h"

namespace reembed {

// Everything said to the ledger since the last commit. Cleared and used again, so that its memory stays.
class LedgerChanges {
 public:
  void AddRow(int64_t ordinal, KeyView key, int64_t slot);

  // A row of an earlier run has another text now.
  void MoveRow(int64_t ordinal, int64_t slot) { moved_rows_.emplace_back(ordinal, slot); }

  // A row has another text than the one that its targets' vectors are made from: they are owed it. `old_slot`: of that
  // one.
  void ChangeRow(int64_t ordinal, int64_t slot, int64_t old_slot) {
    changed_rows_.push_back({ordinal, slot, old_slot});
  }

  // A target has lost its vector of a row, or begins again, having had `rows` rows.
  void OweRow(absl::string_view sink, int64_t ordinal) { owed_.push_back({std::string(sink), ordinal}); }
  void BeginAgain(absl::string_view sink, int64_t rows) { outdated_.emplace_back(std::string(sink), rows); }

  // A target is owed nothing any more.
  void Settle(absl::string_view sink) { settled_.emplace_back(sink); }

  // A row that was rejected in an earlier run is taken up again.
  void TakeBackReject(int64_t ordinal) { taken_back_.push_back(ordinal); }

  // The text of the next slot.
  void AddText(int64_t slot, const TextHash& hash) { texts_.emplace_back(slot, hash); }
  void AddKept(KeptRun run) { kept_.push_back(std::move(run)); }

  // The vectors of these slots are damaged, and were bought in vain; whole runs in format 1.
  void DropKept(const SlotRange& slots) { dropped_.push_back(slots); }
  bool drops_kept() const { return !dropped_.empty(); }
  void AddTextReject(int64_t slot, const absl::Status& reason) { text_rejects_.push_back({slot, "", reason}); }

  // `sink` is empty when no sink gets the row.
  void AddReject(int64_t ordinal, absl::string_view sink, const absl::Status& reason) {
    rejects_.push_back({ordinal, std::string(sink), reason});
  }
  void AddPosition(absl::string_view sink, int64_t position) { positions_.emplace_back(std::string(sink), position); }
  void AddReceipt(const Receipt& receipt) { receipts_.push_back(receipt); }

  // Texts of requests that were given up, and may have been paid for.
  void AddDropped(int64_t texts) { dropped_texts_ += texts; }

  // So much has been spent by this run at most; likewise for kMetaSpending.
  void AddSpending(int64_t nanousd) { spending_ = nanousd; }

  // The source has been read to its end.
  void AllRead() { all_read_ = true; }

  // The targets are written to again after a rollback.
  void ForgetRollback() { forgets_rollback_ = true; }

  // The job's selection is this from now on.
  void WidenSelection(absl::string_view selection) { selection_ = std::string(selection); }

  // How many rows it speaks of: what there may be much of.
  size_t size() const {
    return rows_.size() + moved_rows_.size() + changed_rows_.size() + owed_.size() + rejects_.size();
  }
  bool empty() const;
  void Clear();

  // Roughly what it needs on disk, for messages.
  int64_t EstimatedBytes() const;

 private:
  friend class LedgerWriter;
  struct Row {
    int64_t ordinal;
    int64_t slot;
    int64_t number;      // the key, or where its text begins in key_bytes_
    int64_t text_bytes;  // -1: the key is a number
  };
  struct Rejection {
    int64_t id;  // ordinal or slot
    std::string sink;
    absl::Status reason;
  };

  std::vector<Row> rows_;
  std::string key_bytes_;
  std::vector<std::pair<int64_t, int64_t>> moved_rows_;
  struct ChangedRow {
    int64_t ordinal;
    int64_t slot;
    int64_t old_slot;
  };
  struct OwedRow {
    std::string sink;
    int64_t ordinal;
  };
  std::vector<ChangedRow> changed_rows_;
  std::vector<OwedRow> owed_;
  std::vector<std::pair<std::string, int64_t>> outdated_;
  std::vector<std::string> settled_;
  std::vector<int64_t> taken_back_;
  std::vector<std::pair<int64_t, TextHash>> texts_;
  std::vector<KeptRun> kept_;
  std::vector<SlotRange> dropped_;
  std::vector<Rejection> text_rejects_;
  std::vector<Rejection> rejects_;
  std::vector<std::pair<std::string, int64_t>> positions_;
  std::vector<Receipt> receipts_;
  int64_t dropped_texts_ = 0;
  std::optional<int64_t> spending_;
  bool all_read_ = false;
  bool forgets_rollback_ = false;
  std::string selection_;  // empty: stays
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_LEDGER_CHANGES_H_
