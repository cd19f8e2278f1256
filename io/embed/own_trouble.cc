// SPDX-License-Identifier: Apache-2.0
#include "io/embed/own_trouble.h"

#include "absl/strings/cord.h"

namespace reembed {
namespace {

constexpr char kPayload[] = "reembed/own-trouble";

}  // namespace

absl::Status OwnTrouble(absl::Status status) {
  status.SetPayload(kPayload, absl::Cord(""));
  return status;
}

bool IsOwnTrouble(const absl::Status& status) { return status.GetPayload(kPayload).has_value(); }

}  // namespace reembed
