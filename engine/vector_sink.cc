// SPDX-License-Identifier: Apache-2.0
#include "engine/vector_sink.h"

#include "absl/strings/str_cat.h"
#include "engine/setting.h"
#include "engine/status_macros.h"

namespace reembed {

absl::StatusOr<int64_t> PrepareAndOpen(VectorSink* sink, const SinkContext& context, const SinkPosition& last) {
  SinkContext known = context;
  known.begun = last.position > 0;
  ABSL_ASSIGN_OR_RETURN(const bool anew, sink->Prepare(known));
  return sink->Open(context, anew ? SinkPosition{} : last);
}

absl::Status CompleteAndPublish(VectorSink* sink, const SinkContext& context) {
  ABSL_RETURN_IF_ERROR(sink->Complete());
  return sink->Publish(context);
}

absl::Status NotPreparedError(absl::string_view target, absl::string_view lacks) {
  return absl::FailedPreconditionError(
      absl::StrCat(target, ": has no ", lacks, ", which is made once when a job begins; prepare the target first"));
}

absl::Status CheckWidth(absl::string_view target, int dim, int given) {
  if (given == dim) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(target, ": expected vectors of ", dim, " numbers, got such of ", given));
}

absl::Status OtherWidthError(absl::string_view target, int holds, int dim, absl::string_view otherwise) {
  return WithSetting(
      absl::FailedPreconditionError(absl::StrCat(target, ": holds vectors of ", holds, " numbers, and this job makes ",
                                                 dim, "; use ", holds, " dimensions, or ", otherwise)),
      Setting::kDimensions);
}

}  // namespace reembed
