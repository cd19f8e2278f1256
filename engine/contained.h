// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_CONTAINED_H_
#define REEMBED_ENGINE_CONTAINED_H_

#include <exception>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace reembed {

// What `call` returns, a status. Our parts report through it; what a library underneath throws all the same must not
// end the process, or cancel a graph and lose what was paid. `prefix`: of the error.
template <typename Call>
absl::Status Contained(absl::string_view prefix, Call call) {
  try {
    return call();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(prefix, "unexpected exception: ", error.what()));
  }
}

// The error with words before its own, and its payloads.
inline absl::Status Prefixed(absl::string_view prefix, const absl::Status& status) {
  if (status.ok()) return status;
  absl::Status named(status.code(), absl::StrCat(prefix, status.message()));
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& payload) { named.SetPayload(type, payload); });
  return named;
}

// The error with the name of the target that it is about.
inline absl::Status OfTarget(absl::string_view name, const absl::Status& status) {
  return Prefixed(absl::StrCat("target ", name, ": "), status);
}

}  // namespace reembed

#endif  // REEMBED_ENGINE_CONTAINED_H_
