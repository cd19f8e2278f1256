// SPDX-License-Identifier: Apache-2.0
#include "engine/count_rows.h"

#include <algorithm>

namespace reembed {

void CountRows(const Batch& batch, const CutTexts& cuts, RunCounters* counters) {
  if (batch.status().ok()) {
    for (const BatchRow& row : batch.rows()) {
      if (row.vector == nullptr) {
        counters->rows_rejected += row.reject.ok() ? 0 : 1;
        if (!row.reject.ok()) counters->rejects.Note(row.key, row.reject);
        continue;
      }
      ++counters->rows_done;
      ++(row.replayed ? counters->rows_replayed : counters->rows_embedded);
      const Embedded embedded = cuts.EmbeddedAs(batch, row);
      counters->rows_truncated += embedded == Embedded::kTruncated ? 1 : 0;
      counters->rows_split += embedded == Embedded::kSplit ? 1 : 0;
    }
    counters->texts_embedded += std::count_if(batch.texts().begin(), batch.texts().end(),
                                              [](const BatchText& text) { return text.reject.ok(); });
  } else {
    // Rows refused for their own sake stay refused, whatever happened to the batch.
    for (const BatchRow& row : batch.rows()) {
      if (row.reject.ok()) continue;
      ++counters->rows_rejected;
      counters->rejects.Note(row.key, row.reject);
    }
  }
}

}  // namespace reembed
