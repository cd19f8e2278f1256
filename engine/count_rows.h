// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_COUNT_ROWS_H_
#define REEMBED_ENGINE_COUNT_ROWS_H_

#include "engine/batch.h"
#include "engine/cut_texts.h"
#include "engine/run_counters.h"

namespace reembed {

// Counts what became of the rows of a batch that every sink has answered.
void CountRows(const Batch& batch, const CutTexts& cuts, RunCounters* counters);

}  // namespace reembed

#endif  // REEMBED_ENGINE_COUNT_ROWS_H_
