// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_TOKEN_METER_H_
#define REEMBED_ENGINE_TEXT_TOKEN_METER_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace reembed {

// What is certain about the number of model tokens of a text. Rejecting, cutting and splitting texts rests on this and
// never on an estimate. Thread-safe.
class TokenMeter {
 public:
  virtual ~TokenMeter() = default;

  // The tokenizer's name, part of what a job with cut texts is.
  virtual absl::string_view name() const = 0;

  // Whether AtLeast() is the very number of tokens.
  virtual bool exact() const = 0;

  // No fewer tokens than this has `text` (UTF-8).
  virtual int64_t AtLeast(absl::string_view text) const = 0;

  // Bytes of a prefix of `text` (valid UTF-8) that ends with a whole character and has at most `tokens` tokens: the
  // longest there is for an exact meter (give or take the tokens of one character), one that surely fits for others.
  virtual size_t FittingPrefix(absl::string_view text, int64_t tokens) const = 0;
};

// `bytes`, or fewer so that a prefix of `text` of that length ends with a whole character. Valid UTF-8.
inline size_t CharacterBoundary(absl::string_view text, size_t bytes) {
  if (bytes >= text.size()) return text.size();
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return bytes;
}

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_TOKEN_METER_H_
