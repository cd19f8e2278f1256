// SPDX-License-Identifier: Apache-2.0
#include "io/net/unsent.h"

#include "absl/strings/cord.h"

namespace reembed {
namespace {

constexpr char kUnsent[] = "reembed/unsent";

}  // namespace

bool NothingWasSent(const absl::Status& status) { return status.GetPayload(kUnsent).has_value(); }

absl::Status Unsent(absl::Status status) {
  status.SetPayload(kUnsent, absl::Cord(""));
  return status;
}

}  // namespace reembed
