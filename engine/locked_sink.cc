// SPDX-License-Identifier: Apache-2.0
#include "engine/locked_sink.h"

#include "engine/status_macros.h"

namespace reembed {

absl::StatusOr<bool> LockedSink::Prepare(const SinkContext& context) {
  ABSL_RETURN_IF_ERROR(lock_->EnsureHeld());
  return sink_->Prepare(context);
}

absl::StatusOr<int64_t> LockedSink::Open(const SinkContext& context, const SinkPosition& last) {
  ABSL_RETURN_IF_ERROR(lock_->EnsureHeld());
  return sink_->Open(context, last);
}

absl::Status LockedSink::Write(absl::Span<const Batch* const> batches, std::vector<RefusedRow>* refused) {
  ABSL_RETURN_IF_ERROR(lock_->EnsureHeld());
  return sink_->Write(batches, refused);
}

absl::Status LockedSink::Flush() {
  ABSL_RETURN_IF_ERROR(lock_->EnsureHeld());
  return sink_->Flush();
}

absl::Status LockedSink::Complete() {
  ABSL_RETURN_IF_ERROR(lock_->EnsureHeld());
  ABSL_RETURN_IF_ERROR(sink_->Complete());
  return lock_->EnsureHeld();
}

absl::Status LockedSink::Publish(const SinkContext& context) {
  ABSL_RETURN_IF_ERROR(lock_->EnsureHeld());
  ABSL_RETURN_IF_ERROR(sink_->Publish(context));
  return lock_->EnsureHeld();
}

}  // namespace reembed
