// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SINK_METER_H_
#define REEMBED_ENGINE_SINK_METER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/mutex.h"

namespace reembed {

// How far one target is in a run.
struct SinkProgress {
  std::string name;          // as the ledger knows it
  int64_t position = 0;      // rows of the job that are in it, or passed over, from the first one on without a gap
  int64_t rows_written = 0;  // that it took in this run
  int64_t rows_refused = 0;  // in this run
};

// What the targets of a run have taken. Thread-safe.
class SinkMeter {
 public:
  // A sink is at this position; it may have to begin again at a lower one.
  void Reached(absl::string_view name, int64_t position);
  // What it took before in this run stays counted.
  void Wrote(absl::string_view name, int64_t rows, int64_t refused);

  // In the order in which they came up first.
  std::vector<SinkProgress> List() const;

 private:
  SinkProgress& Of(absl::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::vector<SinkProgress> sinks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_SINK_METER_H_
