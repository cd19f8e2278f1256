#include "io/job/row_scan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "io/job/ledger_hash.h"
#include "io/job/ledger_tables.h"

namespace reembed {
namespace {

constexpr int64_t kPageRows = 4096;

}  // namespace

absl::StatusOr<std::unique_ptr<RowScan>> RowScan::Open(const std::string& path, KeepVectors keep_vectors, int64_t from,
                                                       int64_t end, StateOf state_of) {
  std::unique_ptr<RowScan> scan(new RowScan);
  scan->keep_vectors_ = keep_vectors;
  scan->state_of_ = std::move(state_of);
  scan->page_begin_ = std::max<int64_t>(from, 0);
  scan->end_ = end;
  absl::StatusOr<std::unique_ptr<LedgerConnection>> ledger = OpenLedgerReadOnly(path);
  if (!ledger.ok()) return ledger.status();
  scan->ledger_ = *std::move(ledger);
  absl::StatusOr<LedgerStatement> rows = scan->ledger_->Prepare(
      "SELECT ordinal, key, rows.slot, hash FROM rows LEFT JOIN texts ON texts.slot = rows.slot"
      " WHERE ordinal >= ?1 AND ordinal < ?2 ORDER BY ordinal");
  if (!rows.ok()) return rows.status();
  scan->rows_ = *std::move(rows);
  absl::StatusOr<LedgerStatement> rejects =
      scan->ledger_->Prepare("SELECT ordinal FROM rejects WHERE ordinal >= ?1 AND ordinal < ?2 AND sink = ''");
  if (!rejects.ok()) return rejects.status();
  scan->rejects_ = *std::move(rejects);
  return scan;
}

absl::StatusOr<std::optional<LedgerRow>> RowScan::Next() {
  if (next_ == page_.size()) {
    if (absl::Status status = LoadPage(); !status.ok()) return status;
    if (page_.empty()) return std::nullopt;
  }
  const Row& row = page_[next_];
  LedgerRow result = {.ordinal = page_begin_ + static_cast<int64_t>(next_), .slot = row.slot, .hash = row.hash};
  if (row.text_bytes < 0) {
    result.key = row.number;
  } else {
    result.key = absl::string_view(key_bytes_).substr(row.number, row.text_bytes);
  }
  result.state = row.rejected ? SlotState::kRejected : state_of_(result);
  ++next_;
  return result;
}

absl::Status RowScan::LoadPage() {
  page_begin_ += static_cast<int64_t>(page_.size());
  page_.clear();
  key_bytes_.clear();
  next_ = 0;
  const int64_t page_end = std::min(page_begin_ + kPageRows, end_);
  if (page_begin_ >= page_end) return absl::OkStatus();
  rows_.Bind(1, page_begin_);
  rows_.Bind(2, page_end);
  absl::StatusOr<bool> row = rows_.Step();
  for (; row.ok() && *row; row = rows_.Step()) {
    if (absl::Status status = AddRow(); !status.ok()) {
      rows_.Reset();
      return status;
    }
  }
  if (!row.ok()) return row.status();
  if (page_begin_ + static_cast<int64_t>(page_.size()) != page_end) {
    return absl::DataLossError(
        absl::StrCat(ledger_->path(), ": row with ordinal ", page_begin_ + page_.size(), " is missing"));
  }
  return MarkRejected();
}

absl::Status RowScan::AddRow() {
  const int64_t ordinal = page_begin_ + static_cast<int64_t>(page_.size());
  Row row = {.slot = rows_.Integer(2)};
  const bool has_text = keep_vectors_ == KeepVectors::kAlways && row.slot >= 0;
  if (rows_.Integer(0) != ordinal || (has_text && !DecodeHash(rows_.Blob(3), &row.hash))) {
    return absl::DataLossError(
        absl::StrCat(ledger_->path(), ": row with ordinal ", ordinal, " or its text is missing"));
  }
  const KeyView key = rows_.KeyAt(1);
  if (const auto* number = std::get_if<int64_t>(&key)) {
    row.number = *number;
    row.text_bytes = -1;
  } else {
    const absl::string_view text = std::get<absl::string_view>(key);
    row.number = static_cast<int64_t>(key_bytes_.size());
    row.text_bytes = static_cast<int64_t>(text.size());
    key_bytes_.append(text.data(), text.size());
  }
  page_.push_back(row);
  return absl::OkStatus();
}

absl::Status RowScan::MarkRejected() {
  rejects_.Bind(1, page_begin_);
  rejects_.Bind(2, page_begin_ + static_cast<int64_t>(page_.size()));
  absl::StatusOr<bool> reject = rejects_.Step();
  for (; reject.ok() && *reject; reject = rejects_.Step()) page_[rejects_.Integer(0) - page_begin_].rejected = true;
  return reject.status();
}

}  // namespace reembed
