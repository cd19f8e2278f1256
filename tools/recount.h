// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_RECOUNT_H_
#define REEMBED_TOOLS_RECOUNT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/key.h"
#include "io/job/job_store.h"
#include "tools/resolve.h"

namespace reembed {

// Rows of a table filled in place that have no vector although the run has ended well, and are not rejected.
struct Recount {
  int64_t rows = 0;  // that the source selects
  int64_t rows_with_vector = 0;
  HiddenRows hidden;
  int64_t rows_added = 0;     // that the job does not know
  int64_t rows_emptied = 0;   // that it has written
  std::vector<Key> emptied;   // the first of them
  int64_t first_emptied = 0;  // the lowest of their ordinals
};

// Asks the table itself, and, where something lacks, the ledger for the reason. Reads only.
absl::StatusOr<Recount> RecountTable(const ResolvedJob& job, int64_t rows_rejected, JobStore* store);

// What people should know of it and can do, in one line; empty: nothing lacks.
std::string RecountMessage(const ResolvedJob& job, const Recount& recount);

}  // namespace reembed

#endif  // REEMBED_TOOLS_RECOUNT_H_
