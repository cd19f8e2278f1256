// SPDX-License-Identifier: Apache-2.0
#include "engine/vector_sink.h"

#include "absl/strings/str_cat.h"

namespace reembed {

absl::Status CheckWidth(absl::string_view target, int dim, int given) {
  if (given == dim) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(target, ": expected vectors of ", dim, " numbers, got such of ", given));
}

absl::Status OtherWidthError(absl::string_view target, int holds, int dim, absl::string_view otherwise) {
  return absl::FailedPreconditionError(absl::StrCat(target, ": holds vectors of ", holds,
                                                    " numbers, and this job makes ", dim, "; use --dimensions ", holds,
                                                    ", or ", otherwise));
}

}  // namespace reembed
