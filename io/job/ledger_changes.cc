// SPDX-License-Identifier: Apache-2.0
#include "io/job/ledger_changes.h"

#include <cstddef>
#include <variant>

namespace reembed {

void LedgerChanges::AddRow(int64_t ordinal, KeyView key, int64_t slot) {
  if (const auto* number = std::get_if<int64_t>(&key)) {
    rows_.push_back({ordinal, slot, *number, -1});
    return;
  }
  const absl::string_view text = std::get<absl::string_view>(key);
  rows_.push_back({ordinal, slot, static_cast<int64_t>(key_bytes_.size()), static_cast<int64_t>(text.size())});
  key_bytes_.append(text.data(), text.size());
}

bool LedgerChanges::empty() const {
  return rows_.empty() && moved_rows_.empty() && changed_rows_.empty() && owed_.empty() && outdated_.empty() &&
         settled_.empty() && taken_back_.empty() && texts_.empty() && kept_.empty() && dropped_.empty() &&
         text_rejects_.empty() && rejects_.empty() && positions_.empty() && receipts_.empty() && dropped_texts_ == 0 &&
         !spending_.has_value() && !all_read_ && !forgets_rollback_ && selection_.empty();
}

void LedgerChanges::Clear() {
  rows_.clear();
  key_bytes_.clear();
  moved_rows_.clear();
  changed_rows_.clear();
  owed_.clear();
  outdated_.clear();
  settled_.clear();
  taken_back_.clear();
  texts_.clear();
  kept_.clear();
  dropped_.clear();
  text_rejects_.clear();
  rejects_.clear();
  positions_.clear();
  receipts_.clear();
  dropped_texts_ = 0;
  spending_.reset();
  all_read_ = false;
  forgets_rollback_ = false;
  selection_.clear();
}

int64_t LedgerChanges::EstimatedBytes() const {
  // Records of the tables with their headers, and once more for the log.
  size_t sum_bytes = 0;
  for (const KeptRun& run : kept_) sum_bytes += run.sums.size();
  const size_t records = sum_bytes + rows_.size() * 16 + key_bytes_.size() + texts_.size() * 26 + kept_.size() * 32 +
                         text_rejects_.size() * 200 + rejects_.size() * 260 +
                         (changed_rows_.size() + owed_.size()) * 100 + positions_.size() * 64 + 4096;
  return static_cast<int64_t>(records * 2);
}

}  // namespace reembed
