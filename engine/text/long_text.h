// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_LONG_TEXT_H_
#define REEMBED_ENGINE_TEXT_LONG_TEXT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/text/token_meter.h"

namespace reembed {

// What becomes of a text that has more tokens than the model takes.
enum class LongText {
  kReject,    // its rows get no vector, and the reason says how long it is
  kTruncate,  // it is cut to the limit
  kSplit,     // it is embedded in parts: the vector is their mean, weighted by tokens, scaled to length 1
};

// Longer texts are no texts: nobody looks at them, not even to cut them.
inline constexpr size_t kMaxTextBytes = size_t{64} << 20;

struct TextLimit {
  LongText policy = LongText::kReject;
  int64_t max_tokens = 0;             // of one text; 0: not known, so that no text is too long
  int64_t prefix_tokens = 0;          // of what the client puts before each text: they count against the limit
  const TokenMeter* meter = nullptr;  // borrowed; nullptr: nothing is certain, so the API decides what is too long
};

// The beginning of `text` (valid UTF-8) of at most `bytes` bytes. It ends before white space if there is some in its
// second half, else between two characters. Empty if the first character is longer.
absl::string_view WholeWords(absl::string_view text, size_t bytes);

// Whether `text` (UTF-8) certainly has more tokens than the limit.
bool IsTooLong(const TextLimit& limit, absl::string_view text);

// What is embedded of a text that IsTooLong(): views into it, each within the limit, in their order; one for kTruncate.
// Parts end at white space if there is some in their second half, and parts of white space alone are left out.
// Errors: kInvalidArgument, with the reason for its rows (kReject; a limit below one character; more than `max_parts`).
absl::StatusOr<std::vector<absl::string_view>> FitText(const TextLimit& limit, absl::string_view text, int max_parts);

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_LONG_TEXT_H_
