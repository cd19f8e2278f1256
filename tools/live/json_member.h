// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_LIVE_JSON_MEMBER_H_
#define REEMBED_TOOLS_LIVE_JSON_MEMBER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace reembed {

// A member of one JSON object: a string without its quotes and escapes, anything else as it stands. Empty: it has none,
// or `json` is no object.
std::string JsonMember(absl::string_view json, absl::string_view name);

}  // namespace reembed

#endif  // REEMBED_TOOLS_LIVE_JSON_MEMBER_H_
