// SPDX-License-Identifier: Apache-2.0
#include "engine/cut_texts.h"

namespace reembed {

void CutTexts::Remember(const Batch& batch) {
  for (const BatchText& text : batch.texts()) {
    if (text.embedded == Embedded::kWhole || !batch.HasVector(text)) continue;
    const MutexLock lock(&mutex_);
    cuts_[text.slot] = text.embedded;
  }
}

Embedded CutTexts::EmbeddedAs(const Batch& batch, const BatchRow& row) const {
  if (row.embedded != Embedded::kWhole || row.replayed) return row.embedded;
  if (row.text >= 0) return batch.texts()[row.text].embedded;
  const MutexLock lock(&mutex_);
  const auto cut = cuts_.find(row.slot);
  return cut == cuts_.end() ? Embedded::kWhole : cut->second;
}

}  // namespace reembed
