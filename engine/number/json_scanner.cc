// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_scanner.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace reembed {
namespace {

// Deeper texts are refused rather than let them end the stack.
constexpr int kMaxDepth = 200;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

char JsonScanner::Peek() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return c;
    ++position_;
  }
  return '\0';
}

bool JsonScanner::Take(char c) {
  if (Peek() != c || position_ == text_.size()) return false;
  ++position_;
  return true;
}

bool JsonScanner::SkipWord(absl::string_view word) {
  if (!absl::StartsWith(text_.substr(position_), word)) return false;
  position_ += word.size();
  return true;
}

bool JsonScanner::SkipDigits() {
  const size_t begin = position_;
  while (position_ < text_.size() && IsDigit(text_[position_])) ++position_;
  return position_ > begin;
}

bool JsonScanner::SkipNumber() {
  if (numbers_ == Numbers::kPython && (SkipWord("NaN") || SkipWord("Infinity") || SkipWord("-Infinity"))) return true;
  const auto next = [this] { return position_ < text_.size() ? text_[position_] : '\0'; };
  if (next() == '-') ++position_;
  const bool zero = next() == '0';
  const size_t begin = position_;
  if (!SkipDigits() || (zero && position_ - begin > 1)) return false;
  if (next() == '.') {
    ++position_;
    if (!SkipDigits()) return false;
  }
  if (next() == 'e' || next() == 'E') {
    ++position_;
    if (next() == '+' || next() == '-') ++position_;
    if (!SkipDigits()) return false;
  }
  return true;
}

bool JsonScanner::SkipString() {
  ++position_;
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (static_cast<unsigned char>(c) < 0x20) return false;
    ++position_;
    if (c == '"') return true;
    if (c != '\\') continue;
    if (position_ == text_.size()) return false;
    const char escape = text_[position_++];
    if (escape != 'u') {
      if (!absl::StrContains("\"\\/bfnrt", escape)) return false;
      continue;
    }
    for (int i = 0; i < 4; ++i, ++position_) {
      if (position_ == text_.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(text_[position_]))) {
        return false;
      }
    }
  }
  return false;
}

// Plain numbers with a comma behind each, as many as come: nearly all of a text with vectors. Stops before anything
// else, which SkipArray then looks at.
void JsonScanner::SkipPlainNumbers(size_t* elements) {
  const char* const end = text_.data() + text_.size();
  const char* at = text_.data() + position_;
  while (true) {
    const char* next = at;
    while (next < end && (*next == ' ' || *next == '\n')) ++next;
    if (next < end && *next == '-') ++next;
    const char* const whole = next;
    while (next < end && IsDigit(*next)) ++next;
    if (next == whole || (*whole == '0' && next - whole > 1)) break;
    if (next < end && *next == '.') {
      const char* const fraction = ++next;
      while (next < end && IsDigit(*next)) ++next;
      if (next == fraction) break;
    }
    if (next == end || *next != ',') break;
    at = next + 1;
    ++*elements;
  }
  position_ = static_cast<size_t>(at - text_.data());
}

bool JsonScanner::SkipArray(int depth, size_t* elements, bool* all_numbers) {
  *elements = 0;
  *all_numbers = true;
  if (Take(']')) return true;
  while (true) {
    if (*all_numbers) SkipPlainNumbers(elements);
    const char first = Peek();
    *all_numbers = *all_numbers && (IsDigit(first) || first == '-');
    const size_t begin = position_;
    if (!SkipValue(depth + 1)) return false;
    *all_numbers = *all_numbers && text_[begin + (first == '-' ? 1 : 0)] != 'I';
    ++*elements;
    if (Take(']')) return true;
    if (!Take(',')) return false;
  }
}

bool JsonScanner::SkipObject(int depth) {
  if (Take('}')) return true;
  while (true) {
    if (Peek() != '"' || !SkipString() || !Take(':') || !SkipValue(depth + 1)) return false;
    if (Take('}')) return true;
    if (!Take(',')) return false;
  }
}

bool JsonScanner::SkipValue(int depth) {
  if (depth > kMaxDepth) return false;
  size_t elements;
  bool all_numbers;
  switch (Peek()) {
    case '"':
      return SkipString();
    case '{':
      ++position_;
      return SkipObject(depth);
    case '[':
      ++position_;
      return SkipArray(depth, &elements, &all_numbers);
    case 't':
      return SkipWord("true");
    case 'f':
      return SkipWord("false");
    case 'n':
      return SkipWord("null");
    default:
      return SkipNumber();
  }
}

bool JsonScanner::TakeString(absl::string_view* token) { return Peek() == '"' && TakeValue(token); }

bool JsonScanner::TakeValue(absl::string_view* token) {
  Peek();
  const size_t begin = position_;
  if (!SkipValue(0)) return false;
  *token = text_.substr(begin, position_ - begin);
  return true;
}

bool JsonScanner::TakeRestOfArray(size_t* elements, bool* all_numbers) { return SkipArray(0, elements, all_numbers); }

}  // namespace reembed
