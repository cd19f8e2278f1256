// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_JSON_TEXT_H_
#define REEMBED_ENGINE_NUMBER_JSON_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace reembed {

// Appends `text` (valid UTF-8) to *out as a JSON string with its quotes: RFC 8259 escapes, everything else as it is.
void AppendJsonString(absl::string_view text, std::string* out);
std::string JsonQuoted(absl::string_view text);  // alone

// The same in ASCII alone, byte for byte as Python's json.dumps has it: \u00e4, and two escapes above U+FFFF.
void AppendAsciiJsonString(absl::string_view text, std::string* out);

// Whether `text` is valid UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7).
bool IsValidUtf8(absl::string_view text);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_JSON_TEXT_H_
