// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_REJECT_FILE_H_
#define REEMBED_TOOLS_REJECT_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "io/job/job_records.h"
#include "io/job/job_store.h"
#include "tools/format.h"

namespace reembed {

inline constexpr char kRejectFile[] = "rejects.jsonl";

// A rejected row for programs: what `status --json` prints and what is in rejects.jsonl. No text of the row.
JsonLine RejectJson(const RejectedRow& row);

// Makes DIR/rejects.jsonl what the job rejects now, a line for each row, or row and target; takes the file away where
// nothing is rejected. It is for people and their scripts: no command reads it. A few rows are in memory at a time.
// Errors: of the ledger and of the file.
absl::Status WriteRejectFile(const std::string& dir, JobStore* store);

}  // namespace reembed

#endif  // REEMBED_TOOLS_REJECT_FILE_H_
