// SPDX-License-Identifier: Apache-2.0
#include "engine/source.h"

#include "engine/status_macros.h"

namespace reembed {

absl::Status Source::ShowRows(absl::FunctionRef<bool(const RowView&)> see) {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<RowView> row, Next());
    if (!row.has_value() || !see(*row)) return absl::OkStatus();
  }
}

}  // namespace reembed
