// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SINK_WRITER_H_
#define REEMBED_ENGINE_SINK_WRITER_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/done.h"
#include "engine/ledger.h"
#include "engine/mutex.h"
#include "engine/named_sink.h"
#include "engine/pace/rate_limiter.h"
#include "engine/sink_meter.h"
#include "engine/wait_meter.h"

namespace reembed {

// Feeds one sink from a thread of its own, so that no worker of the graph waits for a disk or a server. Batches that
// arrive while the sink is busy are written together (group commit). Keeps the sink's position in the ledger.
class SinkWriter {
 public:
  enum class Ending { kComplete, kEarly };

  // `start`: where the sink asked to be served from; batches that end there or before are acknowledged unwritten.
  // Batches are numbered from 0 in ordinal order, without gaps. All parts are borrowed.
  SinkWriter(const NamedSink& sink, int64_t start, VectorLedger* ledger, SinkMeter* meter,
             absl::Duration flush_interval);
  SinkWriter(const SinkWriter&) = delete;
  SinkWriter& operator=(const SinkWriter&) = delete;
  ~SinkWriter();

  // Hands over a batch; it must stay as it is until `done`, which runs on the writer's thread. Never blocks.
  // Any thread. A failed batch is acknowledged at once, and holds the position back for good.
  void Write(const Batch* batch, int64_t sequence, Done done);

  const std::string& name() const { return sink_.name; }

  // How many batches the sink holds up just now: those that it is writing, and what has come since. Any thread.
  int HeldUp();

  // Writes what is left, flushes, saves the position; kComplete also completes the sink, when nothing has failed.
  // Call it once, after the last Done has run. Returns the first failure. `rows`: of the job, for kComplete.
  absl::Status Close(Ending ending, int64_t rows = 0);

 private:
  struct Item {
    const Batch* batch = nullptr;
    Done done;
  };

  void Loop();
  void WriteGroup(std::map<int64_t, Item> group);
  std::map<int64_t, Item> TakeWritable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountWritten(const std::vector<const Batch*>& batches, int64_t refused);
  void MarkPassed(int64_t sequence, const Batch& batch);
  void FlushIfDue(Moment now);
  void Flush();

  const NamedSink sink_;
  const int64_t start_;
  VectorLedger* const ledger_;
  SinkMeter* const meter_;
  const absl::Duration flush_interval_;
  const RowOrder order_;

  Mutex mutex_;
  std::condition_variable_any wake_;
  std::map<int64_t, Item> queue_ ABSL_GUARDED_BY(mutex_);  // by sequence
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;  // the sink writes, or is made durable
  int writing_ ABSL_GUARDED_BY(mutex_) = 0;    // batches that it writes

  // The writer's thread only, and Close() after joining it.
  int64_t next_sequence_ = 0;              // every batch before it has been written or passed over
  std::map<int64_t, int64_t> ends_ahead_;  // sequence -> end ordinal, of batches that overtook next_sequence_
  int64_t position_ = 0;
  bool blocked_ = false;  // a failed batch is at next_sequence_
  int64_t saved_position_ = 0;
  bool dirty_ = false;
  Moment last_flush_;
  absl::Status status_;

  std::thread thread_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_SINK_WRITER_H_
