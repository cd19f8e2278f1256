// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_JSON_VALUE_H_
#define REEMBED_ENGINE_NUMBER_JSON_VALUE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "engine/key.h"

namespace reembed {

// `token` is one JSON value as it stands in the text, whitespace around it allowed, whose structure a parser has
// checked: for members that must be taken byte by byte.

// The string that `token` is, without quotes and escapes: a part of `token`, or put together in *space. An escaped lone
// surrogate becomes the three bytes of its code point, so the result is not UTF-8, as the text it came from was not.
// nullopt: it is no string, or has an escape that JSON does not know.
std::optional<absl::string_view> JsonString(absl::string_view token, std::string* space);

// The integer that `token` is; nullopt: it is none, or needs more than 64 bits.
std::optional<int64_t> JsonInteger(absl::string_view token);

// The float nearest to the number that `token` is; nullopt: it is none, or beyond the range of a float.
std::optional<float> JsonFloat(absl::string_view token);

// What `token` is, for messages: "a string", "an object", "a list", "a number", "a truth value" or "null".
absl::string_view JsonKindName(absl::string_view token);

// The key that `token` is: an integer or a UTF-8 string; nullopt: it is neither.
std::optional<KeyView> JsonKey(absl::string_view token, std::string* space);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_JSON_VALUE_H_
