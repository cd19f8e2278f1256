// SPDX-License-Identifier: Apache-2.0
#include "engine/sink_meter.h"

namespace reembed {

SinkProgress& SinkMeter::Of(absl::string_view name) {
  for (SinkProgress& sink : sinks_) {
    if (sink.name == name) return sink;
  }
  sinks_.push_back({.name = std::string(name)});
  return sinks_.back();
}

void SinkMeter::Wrote(absl::string_view name, int64_t rows, int64_t refused) {
  const MutexLock lock(&mutex_);
  SinkProgress& sink = Of(name);
  sink.rows_written += rows;
  sink.rows_refused += refused;
}

void SinkMeter::Reached(absl::string_view name, int64_t position) {
  const MutexLock lock(&mutex_);
  Of(name).position = position;
}

std::vector<SinkProgress> SinkMeter::List() const {
  const MutexLock lock(&mutex_);
  return sinks_;
}

}  // namespace reembed
