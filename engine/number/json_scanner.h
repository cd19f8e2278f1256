// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_JSON_SCANNER_H_
#define REEMBED_ENGINE_NUMBER_JSON_SCANNER_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace reembed {

// Walks over one JSON text and checks its structure by RFC 8259 on the way, without a tree: what is not wanted is
// passed over, what is wanted is a piece of the text, for json_value.h. So a text may be larger than memory is, if it
// is mapped. Everything returns false when the text is something else; then position() is where it went wrong.
// The text is borrowed.
class JsonScanner {
 public:
  // kPython: also the words NaN, Infinity and -Infinity, which Python's json module reads and writes.
  enum class Numbers { kStrict, kPython };
  explicit JsonScanner(absl::string_view text, Numbers numbers = Numbers::kStrict) : text_(text), numbers_(numbers) {}

  // The next character that is no whitespace; NUL at the end.
  char Peek();
  // Takes `c` if it comes next.
  bool Take(char c);
  bool AtEnd() { return Peek() == '\0' && position_ == text_.size(); }

  // The next value as it stands, strings with their quotes. TakeString: only a string.
  [[nodiscard]] bool TakeString(absl::string_view* token);
  [[nodiscard]] bool TakeValue(absl::string_view* token);

  // How many elements the array has whose `[` was just taken; takes it up to its `]`. `all_numbers`: whether every one
  // is a finite number as it is written.
  [[nodiscard]] bool TakeRestOfArray(size_t* elements, bool* all_numbers);

  size_t position() const { return position_; }

 private:
  bool SkipString();
  bool SkipNumber();
  bool SkipWord(absl::string_view word);
  bool SkipDigits();
  bool SkipObject(int depth);
  bool SkipArray(int depth, size_t* elements, bool* all_numbers);
  bool SkipValue(int depth);
  void SkipPlainNumbers(size_t* elements);

  const absl::string_view text_;
  const Numbers numbers_;
  size_t position_ = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_JSON_SCANNER_H_
