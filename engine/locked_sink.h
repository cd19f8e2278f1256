// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_LOCKED_SINK_H_
#define REEMBED_ENGINE_LOCKED_SINK_H_

#include <memory>
#include <utility>
#include <vector>

#include "engine/target_lock.h"
#include "engine/vector_sink.h"

namespace reembed {

// A sink that changes nothing while another job has the lock of its target: every call but row_order() keeps the lock
// first, and ends with its error. The lock is borrowed.
class LockedSink final : public VectorSink {
 public:
  LockedSink(std::unique_ptr<VectorSink> sink, TargetLock* lock) : sink_(std::move(sink)), lock_(lock) {}

  RowOrder row_order() const override { return sink_->row_order(); }
  absl::StatusOr<bool> Prepare(const SinkContext& context) override;
  absl::StatusOr<int64_t> Open(const SinkContext& context, const SinkPosition& last) override;
  absl::Status Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) override;
  absl::Status Flush() override;
  // These also keep the lock afterwards, so that it says whether it was held to the end.
  absl::Status Complete() override;
  absl::Status Publish(const SinkContext& context) override;

 private:
  const std::unique_ptr<VectorSink> sink_;
  TargetLock* const lock_;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_LOCKED_SINK_H_
