// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_HIDDEN_ROWS_H_
#define REEMBED_TOOLS_HIDDEN_ROWS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/location.h"

namespace reembed {

// Of a place that shows its user some rows only, so that what is counted is no share of the whole.
struct HiddenRows {
  bool may_be = false;
  int64_t known = -1;  // then: all rows of the place, as its statistics know them; -1: they do not
};

// Errors: of the place.
absl::StatusOr<HiddenRows> FindHiddenRows(const Location& place);

}  // namespace reembed

#endif  // REEMBED_TOOLS_HIDDEN_ROWS_H_
