// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_JOB_TARGET_RECORD_H_
#define REEMBED_IO_JOB_TARGET_RECORD_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace reembed {

// What the last run left of a target.
struct TargetRecord {
  int64_t finished_rows = -1;  // rows of the job when a run last made the target complete; -1: none did
  int64_t expected_rows = 0;   // rows that the last run meant it to have
  std::string mark;  // of a file that the job made: how it was left. Empty: a run is at work on it, or was killed
};

using TargetRecords = std::map<std::string, TargetRecord>;  // by the name of the sink

// JOB/targets, a line for each. Of a job of an older version, or one that has not begun: none.
// Errors: kInternal (cannot be read), kDataLoss (not as it was written).
absl::StatusOr<TargetRecords> ReadTargetRecords(const std::string& dir);

// Replaces JOB/targets, durably. The caller holds the job's lock. Errors: kResourceExhausted, kInternal.
absl::Status WriteTargetRecords(const std::string& dir, const TargetRecords& records);

}  // namespace reembed

#endif  // REEMBED_IO_JOB_TARGET_RECORD_H_
