// SPDX-License-Identifier: Apache-2.0
#include "engine/lost_writes.h"

#include "absl/strings/cord.h"

namespace reembed {
namespace {

constexpr char kPayload[] = "reembed/lost_writes";

}  // namespace

absl::Status LostWritesError(absl::string_view message) {
  absl::Status status = absl::UnavailableError(message);
  status.SetPayload(kPayload, absl::Cord());
  return status;
}

bool AreWritesLost(const absl::Status& status) { return status.GetPayload(kPayload).has_value(); }

}  // namespace reembed
