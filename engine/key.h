// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_KEY_H_
#define REEMBED_ENGINE_KEY_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"

namespace reembed {

// The caller's own id of a row, as its store has it: an integer or UTF-8 text. Only the edges (sources, sinks,
// messages) look at it; inside, a row is its ordinal.
using Key = std::variant<int64_t, std::string>;

// A key owned by someone else.
using KeyView = std::variant<int64_t, absl::string_view>;

// The view lives as long as `key` stays where it is.
KeyView ViewOf(const Key& key);

Key Own(KeyView key);

// For messages, search results and text formats: 42 -> "42", text as it is.
std::string KeyText(KeyView key);

// The key as one JSON value, as key sidecars and JSONL targets write it: 42, "a\"b".
std::string KeyJson(KeyView key);

}  // namespace reembed

#endif  // REEMBED_ENGINE_KEY_H_
