// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_JS_JOIN_H_
#define REEMBED_ENGINE_TEXT_JS_JOIN_H_

#include <string>

#include "absl/strings/string_view.h"

namespace reembed {

// Appends to *out what JavaScript makes of JSON.parse(json).join(separator): null is nothing, numbers are doubles as
// Number::toString prints them, lists are joined by commas, and an object is [object Object].
// False: it is no array, has no element, or JavaScript would throw; then *out is as it was.
// Source: ECMA-262, Array.prototype.join, OrdinaryToPrimitive.
bool AppendJsJoin(absl::string_view json, absl::string_view separator, std::string* out);

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_JS_JOIN_H_
