// SPDX-License-Identifier: Apache-2.0
#include "io/job/row_scan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "io/job/ledger_hash.h"
#include "io/job/ledger_tables.h"

namespace reembed {
namespace {

constexpr int64_t kPageRows = 4096;

// Texts that no row of a page has are read along if there are at most so many between two: to look for the next costs
// as much.
constexpr int64_t kMaxGap = 8;

}  // namespace

absl::StatusOr<std::unique_ptr<RowScan>> RowScan::Open(const std::string& path, KeepVectors keep_vectors, int64_t from,
                                                       int64_t end, SetStates set_states, HashesOf hashes_of) {
  std::unique_ptr<RowScan> scan(new RowScan);
  scan->keep_vectors_ = keep_vectors;
  scan->set_states_ = std::move(set_states);
  scan->hashes_of_ = std::move(hashes_of);
  scan->page_begin_ = std::max<int64_t>(from, 0);
  scan->end_ = end;
  ABSL_ASSIGN_OR_RETURN(scan->ledger_, OpenLedgerReadOnly(path));
  ABSL_ASSIGN_OR_RETURN(
      scan->rows_, scan->ledger_->Prepare(
                       "SELECT ordinal, key, slot FROM rows WHERE ordinal >= ?1 AND ordinal < ?2 ORDER BY ordinal"));
  ABSL_ASSIGN_OR_RETURN(scan->texts_,
                        scan->ledger_->Prepare("SELECT slot, hash FROM texts WHERE slot >= ?1 ORDER BY slot LIMIT ?2"));
  ABSL_ASSIGN_OR_RETURN(
      scan->rejects_,
      scan->ledger_->Prepare("SELECT ordinal FROM rejects WHERE ordinal >= ?1 AND ordinal < ?2 AND sink = ''"));
  return scan;
}

absl::StatusOr<std::optional<LedgerRow>> RowScan::Next() {
  if (next_ == page_.size()) {
    if (const absl::Status status = LoadPage(); !status.ok()) {
      page_.clear();
      return status;
    }
    if (page_.empty()) return std::nullopt;
  }
  return page_[next_++];
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
  ABSL_RETURN_IF_ERROR(row.status());
  ABSL_RETURN_IF_ERROR(FindHashes());
  if (page_begin_ + static_cast<int64_t>(page_.size()) != page_end) {
    return absl::DataLossError(
        absl::StrCat(ledger_->path(), ": row with ordinal ", page_begin_ + page_.size(), " is missing"));
  }
  ShowKeys();
  set_states_(absl::MakeSpan(page_));
  return MarkRejected();
}

absl::Status RowScan::AddRow() {
  const int64_t ordinal = page_begin_ + static_cast<int64_t>(page_.size());
  if (rows_.Integer(0) != ordinal) {
    return absl::DataLossError(absl::StrCat(ledger_->path(), ": row with ordinal ", ordinal, " is missing"));
  }
  LedgerRow& row = page_.emplace_back(LedgerRow{.ordinal = ordinal, .key = rows_.KeyAt(1), .slot = rows_.Integer(2)});
  if (const auto* const text = std::get_if<absl::string_view>(&row.key)) key_bytes_.append(text->data(), text->size());
  return absl::OkStatus();
}

// The bytes of the keys stay where they are now.
void RowScan::ShowKeys() {
  absl::string_view bytes = key_bytes_;
  for (LedgerRow& row : page_) {
    auto* const text = std::get_if<absl::string_view>(&row.key);
    if (text == nullptr) continue;
    *text = bytes.substr(0, text->size());
    bytes.remove_prefix(text->size());
  }
}

absl::Status RowScan::FindHashes() {
  if (keep_vectors_ != KeepVectors::kAlways) return absl::OkStatus();
  by_slot_.clear();
  for (size_t i = 0; i < page_.size(); ++i) {
    if (page_[i].slot >= 0) by_slot_.push_back(i);
  }
  const auto slot_of = [this](size_t i) { return page_[by_slot_[i]].slot; };
  const auto is_before = [this](size_t a, size_t b) { return page_[a].slot < page_[b].slot; };
  // Rows have got their slots in their order, but for texts that were there before.
  if (!std::is_sorted(by_slot_.begin(), by_slot_.end(), is_before)) {
    std::stable_sort(by_slot_.begin(), by_slot_.end(), is_before);
  }
  for (size_t begin = 0, end = 0; begin < by_slot_.size(); begin = end) {
    for (end = begin + 1; end < by_slot_.size() && slot_of(end) - slot_of(end - 1) <= kMaxGap;) ++end;
    ABSL_RETURN_IF_ERROR(FindHashes(begin, end));
  }
  return absl::OkStatus();
}

absl::Status RowScan::FindHashes(size_t begin, size_t end) {
  const int64_t first = page_[by_slot_[begin]].slot;
  hashes_.resize(page_[by_slot_[end - 1]].slot - first + 1);
  ABSL_RETURN_IF_ERROR(hashes_of_ ? hashes_of_(first, absl::MakeSpan(hashes_))
                                  : ReadHashes(first, absl::MakeSpan(hashes_)));
  for (; begin < end; ++begin) {
    LedgerRow& row = page_[by_slot_[begin]];
    row.hash = hashes_[row.slot - first];
  }
  return absl::OkStatus();
}

absl::Status RowScan::ReadHashes(int64_t first, absl::Span<TextHash> hashes) {
  texts_.Bind(1, first);
  texts_.Bind(2, static_cast<int64_t>(hashes.size()));
  size_t found = 0;
  absl::StatusOr<bool> text = texts_.Step();
  for (; text.ok() && *text && found < hashes.size(); text = texts_.Step()) {
    if (texts_.Integer(0) != first + static_cast<int64_t>(found) || !DecodeHash(texts_.Blob(1), &hashes[found])) break;
    ++found;
  }
  texts_.Reset();
  ABSL_RETURN_IF_ERROR(text.status());
  if (found == hashes.size()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(ledger_->path(), ": text with slot ", first + found, " is missing"));
}

absl::Status RowScan::MarkRejected() {
  rejects_.Bind(1, page_begin_);
  rejects_.Bind(2, page_begin_ + static_cast<int64_t>(page_.size()));
  absl::StatusOr<bool> reject = rejects_.Step();
  for (; reject.ok() && *reject; reject = rejects_.Step()) {
    page_[rejects_.Integer(0) - page_begin_].state = SlotState::kRejected;
  }
  return reject.status();
}

}  // namespace reembed
