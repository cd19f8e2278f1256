// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_PLAN_NUMBERS_H_
#define REEMBED_TOOLS_PLAN_NUMBERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/ledger.h"
#include "tools/environment.h"
#include "tools/preflight.h"
#include "tools/resolve.h"
#include "tools/same_model.h"
#include "tools/token_counting.h"
#include "tools/undo_plan.h"

namespace reembed {

// What a run would do, from one pass over the source.
struct PlanNumbers {
  int64_t rows = 0;
  int64_t rows_rejected = 0;  // no usable text
  int64_t texts = 0;          // different ones
  int64_t text_bytes = 0;     // of them
  int64_t key_bytes = 0;
  int64_t rows_changed = 0;    // of them: have a vector, made from another text
  int64_t rows_lost = 0;       // lack a vector that the job has bought already
  int64_t rows_compared = 0;   // with what the job knows of their texts
  int64_t bytes_compared = 0;  // read for that
  int64_t rows_too_long = 0;   // certainly above the model's limit; rejected ones of them are in rows_rejected too
  int64_t tokens = 0;
  int64_t tokens_at_least = 0;  // proven; 0: nothing is known of the model's tokenizer
  int64_t tokens_at_most = 0;   // likewise
  int64_t requests = 0;
  double cost_usd = 0;
  bool price_known = false;
  absl::Duration time = absl::InfiniteDuration();  // at the given limits; infinite: no limit is given
  int64_t memory_bytes = 0;
  int64_t text_map_bytes = 0;  // of memory_bytes: what grows with the texts
  int64_t disk_bytes = 0;
  int64_t undo_bytes = 0;  // of disk_bytes: what is overwritten, kept
  UnknownModel unknown;    // what is there already
  std::vector<UndoPlan> undo;
  TextHash contents;  // of the keys and texts of all rows that were read, in their order
};

// Reads the source of one stream once; writes and sends nothing. `preflight`: of the job; its source is at its
// beginning. Errors: of the source and the job.
absl::StatusOr<PlanNumbers> ReckonStream(const ResolvedJob& job, const TokenCounting* counting,
                                         const Environment& environment, Preflight* preflight);

// Adds those of one stream to those of all.
void AddNumbers(const PlanNumbers& from, PlanNumbers* to);

}  // namespace reembed

#endif  // REEMBED_TOOLS_PLAN_NUMBERS_H_
