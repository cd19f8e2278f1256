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
#include "engine/ledger.h"
#include "io/job/job_records.h"
#include "io/job/ledger_sql.h"

namespace reembed {

// Reads the rows of a ledger page by page, through a connection of its own; between pages it holds nothing of the
// ledger, so writing goes on beside it.
// Errors of Next(): those of LedgerConnection; kDataLoss (a row or its text is missing).
class RowScan final : public LedgerCursor {
 public:
  // How it stands with a row that is not rejected by itself. Called by Next(), with everything else of the row set.
  using StateOf = absl::AnyInvocable<SlotState(const LedgerRow&) const>;

  // The rows [from, end). `keep_vectors` kNever: rows have no texts, and their hash is zero.
  static absl::StatusOr<std::unique_ptr<RowScan>> Open(const std::string& path, KeepVectors keep_vectors, int64_t from,
                                                       int64_t end, StateOf state_of);

  absl::StatusOr<std::optional<LedgerRow>> Next() override;

 private:
  struct Row {
    int64_t slot;
    TextHash hash;
    bool rejected;
    int64_t number;      // the key, or where its text begins in key_bytes_
    int64_t text_bytes;  // -1: the key is a number
  };

  RowScan() = default;
  absl::Status LoadPage();
  absl::Status AddRow();
  absl::Status MarkRejected();

  KeepVectors keep_vectors_ = KeepVectors::kAlways;
  StateOf state_of_;
  std::unique_ptr<LedgerConnection> ledger_;
  LedgerStatement rows_, rejects_;  // after their connection, so that they go first
  int64_t end_ = 0;
  int64_t page_begin_ = 0;  // ordinal of page_[0]
  std::vector<Row> page_;
  std::string key_bytes_;
  size_t next_ = 0;  // in page_
};

}  // namespace reembed

#endif  // REEMBED_IO_JOB_ROW_SCAN_H_
