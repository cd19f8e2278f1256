// SPDX-License-Identifier: Apache-2.0
#include "io/file/sink_checks.h"

#include "absl/strings/str_cat.h"
#include "engine/key.h"
#include "engine/status_macros.h"
#include "io/file/growing_file.h"
#include "io/file/matrix_format.h"

namespace reembed {

absl::Status CheckFileTarget(const Location& location, const Model& model, absl::Span<const absl::string_view> known) {
  ABSL_RETURN_IF_ERROR(location.CheckParameters(known));
  if (model.dim < 1 || model.dim > kMaxDim) {
    return absl::InvalidArgumentError(
        absl::StrCat(location.path, ": expected a width of 1 to ", kMaxDim, ", got ", model.dim));
  }
  return CheckTargetPath(location.path);
}

absl::Status AscendingRows::Check(absl::string_view path, const BatchRow& row) {
  if (row.ordinal <= last_) {
    return absl::InternalError(
        absl::StrCat(path, ": row ", KeyText(row.key), ": expected an ordinal above ", last_, ", got ", row.ordinal));
  }
  last_ = row.ordinal;
  return absl::OkStatus();
}

}  // namespace reembed
