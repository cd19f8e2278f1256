// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_ROW_SCAN_H_
#define REEMBED_IO_JOB_ROW_SCAN_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/ledger.h"
#include "io/job/job_records.h"
#include "io/job/ledger_sql.h"

namespace reembed {

// Reads the rows of a ledger page by page, through a connection of its own; between pages it holds nothing of the
// ledger, so writing goes on beside it.
// Errors of Next(): those of LedgerConnection; kDataLoss (a row or its text is missing).
class RowScan final : public LedgerCursor {
 public:
  // Sets how it stands with each of these rows, of which everything else is set. Called by Next() for a page at a time,
  // whose rows that are rejected by themselves are rejected whatever it says.
  using SetStates = absl::AnyInvocable<void(absl::Span<LedgerRow> rows) const>;

  // The hashes of texts with the slots from `first_slot` on. Called by Next().
  using HashesOf = absl::AnyInvocable<absl::Status(int64_t first_slot, absl::Span<TextHash> hashes)>;

  // The rows [from, end). Who has the hashes at hand saves with `hashes_of` that they are read from the ledger again.
  // `keep_vectors` kNever: rows have no texts, and their hash is zero.
  static absl::StatusOr<std::unique_ptr<RowScan>> Open(const std::string& path, KeepVectors keep_vectors, int64_t from,
                                                       int64_t end, SetStates set_states, HashesOf hashes_of = nullptr);

  absl::StatusOr<std::optional<LedgerRow>> Next() override;

 private:
  RowScan() = default;
  absl::Status LoadPage();
  absl::Status AddRow();
  void ShowKeys();
  absl::Status FindHashes();                          // of the whole page
  absl::Status FindHashes(size_t begin, size_t end);  // of by_slot_[begin, end), whose slots lie close together
  absl::Status ReadHashes(int64_t first, absl::Span<TextHash> hashes);  // as HashesOf, of the ledger
  absl::Status MarkRejected();

  KeepVectors keep_vectors_ = KeepVectors::kAlways;
  SetStates set_states_;
  HashesOf hashes_of_;  // may be null
  std::unique_ptr<LedgerConnection> ledger_;
  LedgerStatement rows_, texts_, rejects_;  // after their connection, so that they go first
  int64_t end_ = 0;
  int64_t page_begin_ = 0;  // ordinal of page_[0]
  std::vector<LedgerRow> page_;
  std::vector<TextHash> hashes_;
  std::vector<size_t> by_slot_;  // places in page_ of the rows with a text, in the order of their slots
  std::string key_bytes_;        // of the page's keys that are texts, one behind the other
  size_t next_ = 0;              // in page_
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_ROW_SCAN_H_
