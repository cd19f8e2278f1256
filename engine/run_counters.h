// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_RUN_COUNTERS_H_
#define REEMBED_ENGINE_RUN_COUNTERS_H_

#include <atomic>
#include <cstdint>

#include "engine/reject_meter.h"
#include "engine/sink_meter.h"
#include "engine/wait_meter.h"

namespace reembed {

// Counters that a progress display may read during the run.
struct RunCounters {
  std::atomic<int64_t> rows_read{0};  // rows that entered a batch, including replayed ones
  std::atomic<int64_t> rows_done{0};  // rows that every sink has taken
  std::atomic<int64_t> rows_embedded{
      0};  // whose vector was bought in this run, for them or for a row with the same text
  std::atomic<int64_t> rows_rejected{0};   // newly rejected in this run
  std::atomic<int64_t> rows_replayed{0};   // bought in an earlier run and served to a sink in this one
  std::atomic<int64_t> texts_embedded{0};  // vectors bought in this run
  // The next two are parts of rows_embedded; a row whose text an earlier run has bought for another row is not counted.
  // Rows whose vector is made from the beginning of their text:
  std::atomic<int64_t> rows_truncated{0};
  std::atomic<int64_t> rows_split{0};  // rows whose vector is the mean of the parts of their text
  WaitMeter waits;                     // what the run has waited for
  SinkMeter sinks;                     // the position of each target
  RejectMeter rejects;                 // why the rows_rejected were rejected
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_RUN_COUNTERS_H_
