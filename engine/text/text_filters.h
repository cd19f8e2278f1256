// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_TEXT_FILTERS_H_
#define REEMBED_ENGINE_TEXT_TEXT_FILTERS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

// What the filters of text templates do (see text_template.h), each to the bytes of *out from `begin` on. Characters
// are those of UTF-8; a byte that begins none counts as one.

namespace reembed {

// `js`: whitespace and its treatment are JavaScript's, else Python's.
void Trim(size_t begin, bool js, std::string* out);
void Collapse(size_t begin, bool js, std::string* out);

void Lower(size_t begin, std::string* out);

// `table`: 128 bytes, '1' for each character of ASCII that stays.
void KeepCharacters(size_t begin, absl::string_view table, std::string* out);

// The place where `limit` characters, or UTF-16 units, from `begin` on end; npos: the text is not longer.
size_t CutAt(const std::string& out, size_t begin, int64_t limit, bool utf16);

// To `limit` UTF-16 units, trimmed, then back to the last space if that lies behind `percent` per cent of them.
void CutWords(size_t begin, int64_t limit, int64_t percent, std::string* out);

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_TEXT_FILTERS_H_
