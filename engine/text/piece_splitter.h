// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TEXT_PIECE_SPLITTER_H_
#define REEMBED_ENGINE_TEXT_PIECE_SPLITTER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"

namespace reembed {

// The tokenizer of OpenAI's embedding models.
inline constexpr char kCl100k[] = "cl100k_base";

// The regular expression of cl100k_base that PieceSplitter is a program for, as vocabulary files spell it.
inline constexpr char kCl100kPattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";

// Cuts texts into the pieces that cl100k_base encodes one by one: words with the space before them, up to three
// digits, runs of other symbols, runs of white space. No token reaches across pieces, so a text has at least as many
// tokens as pieces; that needs no vocabulary. Letters, numbers and spaces are those of Unicode 16.
// Thread-safe.
class PieceSplitter {
 public:
  PieceSplitter();

  // Bytes of the first piece of `text`, which is not empty. UTF-8; a byte that is not part of a character counts as a
  // symbol. `text` must go on to the end of the whole text: a piece of white space depends on what follows.
  size_t FirstPiece(absl::string_view text) const;

 private:
  enum Class : uint8_t { kSymbol, kLetter, kNumber, kSpace };
  struct Character {
    Class kind;
    uint8_t bytes;
    uint32_t code;
  };
  Character At(absl::string_view text, size_t position) const;
  size_t EndOf(Class kind, absl::string_view text, size_t position) const;
  size_t Contraction(absl::string_view text) const;
  size_t WhiteSpace(absl::string_view text) const;

  std::unique_ptr<uint8_t[]> classes_;  // [0x110000], a Class each
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TEXT_PIECE_SPLITTER_H_
