// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_LEXICAL_EMBEDDER_H_
#define REEMBED_ENGINE_TEXT_LEXICAL_EMBEDDER_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace reembed {

inline constexpr int kMinLexicalDim = 32;
inline constexpr int kMaxLexicalDim = 4096;
// Changes whenever the vectors would.
inline constexpr char kLexicalModelName[] = "reembed-lexical-1";

// The built-in embedder: words and character n-grams, hashed with a sign into `out.size()` dimensions
// (32 to 4096), square-root counts, unit length. Texts that share words or spellings get similar vectors; it knows
// nothing of meaning. Deterministic: integer arithmetic up to one last division, so the same bits on every machine.
// A text without any letter, digit or other non-space character still gets a vector, of its bytes.
// Thread-safe. Precondition: the text is not empty.
void EmbedLexically(absl::string_view text, absl::Span<float> out);

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_LEXICAL_EMBEDDER_H_
