// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_RUN_COUNTERS_H_
#define REEMBED_ENGINE_RUN_COUNTERS_H_

#include <atomic>
#include <cstdint>

#include "engine/reject_meter.h"
#include "engine/sink_meter.h"
#include "engine/wait_meter.h"

namespace reembed {

// Counters that a progress display may read while the run goes on.
struct RunCounters {
  std::atomic<int64_t> rows_read{0};  // that entered a batch, replayed ones included
  std::atomic<int64_t> rows_done{0};  // that every sink has taken
  std::atomic<int64_t> rows_embedded{
      0};  // whose vector was bought in this run, for them or for a row with the same text
  std::atomic<int64_t> rows_rejected{0};   // newly rejected in this run
  std::atomic<int64_t> rows_replayed{0};   // bought in an earlier run and served to a sink in this one
  std::atomic<int64_t> texts_embedded{0};  // vectors bought in this run
  // Of rows_embedded: whose vector is that of the beginning of their text. Likewise below; not of a row whose text was
  // bought for another row in an earlier run.
  std::atomic<int64_t> rows_truncated{0};
  std::atomic<int64_t> rows_split{0};  // of rows_embedded: whose vector is the mean of their text's parts
  WaitMeter waits;                     // what the run has waited for
  SinkMeter sinks;                     // how far each target is
  RejectMeter rejects;                 // why rows_rejected were
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_RUN_COUNTERS_H_
