// SPDX-License-Identifier: Apache-2.0
#include "engine/text/piece_splitter.h"

#include <algorithm>

namespace reembed {
namespace {

constexpr uint32_t kCodePoints = 0x110000;
constexpr uint32_t kLongS = 0x17F;  // folds to `s`, so that 's may be spelt with it

bool Continues(absl::string_view text, size_t position) {
  return position < text.size() && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80;
}

uint32_t Low6(char c) { return static_cast<unsigned char>(c) & 0x3Fu; }

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

PieceSplitter::PieceSplitter() : classes_(new uint8_t[kCodePoints]()) {
  struct Range {
    uint32_t first, last;
    Class kind;
  };
  static constexpr Range kRanges[] = {
#include "engine/text/unicode_ranges.inc"
  };
  for (const Range& range : kRanges) {
    std::fill(classes_.get() + range.first, classes_.get() + range.last + 1, static_cast<uint8_t>(range.kind));
  }
}

inline PieceSplitter::Character PieceSplitter::At(absl::string_view text, size_t position) const {
  const auto lead = static_cast<unsigned char>(text[position]);
  uint32_t code = lead;
  uint8_t bytes = 1;
  if (lead < 0x80) {
    return {static_cast<Class>(classes_[code]), bytes, code};
  }
  const bool one = Continues(text, position + 1);
  const bool two = one && Continues(text, position + 2);
  if (lead >= 0xC2 && lead <= 0xDF && one) {
    code = (lead & 0x1Fu) << 6 | Low6(text[position + 1]);
    bytes = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF && two) {
    code = (lead & 0x0Fu) << 12 | Low6(text[position + 1]) << 6 | Low6(text[position + 2]);
    bytes = 3;
  } else if (lead >= 0xF0 && lead <= 0xF4 && two && Continues(text, position + 3)) {
    code = (lead & 0x07u) << 18 | Low6(text[position + 1]) << 12 | Low6(text[position + 2]) << 6 |
           Low6(text[position + 3]);
    bytes = 4;
  }
  if (bytes == 1 || code >= kCodePoints) return {kSymbol, 1, lead};
  return {static_cast<Class>(classes_[code]), bytes, code};
}

size_t PieceSplitter::EndOf(Class kind, absl::string_view text, size_t position) const {
  while (position < text.size()) {
    const Character next = At(text, position);
    if (next.kind != kind) break;
    position += next.bytes;
  }
  return position;
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d), after the apostrophe; 0: none.
size_t PieceSplitter::Contraction(absl::string_view text) const {
  if (text.size() < 2) return 0;
  const char first = Lower(text[1]);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (At(text, 1).code == kLongS) return 3;
  if (text.size() < 3) return 0;
  const char second = Lower(text[2]);
  return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l') ? 3 : 0;
}

// \s*[\r\n]+|\s+(?!\S)|\s+
size_t PieceSplitter::WhiteSpace(absl::string_view text) const {
  size_t position = 0, last = 0, after_newline = 0;
  while (position < text.size()) {
    const Character next = At(text, position);
    if (next.kind != kSpace) break;
    last = position;
    position += next.bytes;
    if (next.code == '\r' || next.code == '\n') after_newline = position;
  }
  if (after_newline > 0) return after_newline;
  // The last space goes with the word behind it.
  return position < text.size() && last > 0 ? last : position;
}

size_t PieceSplitter::FirstPiece(absl::string_view text) const {
  const Character first = At(text, 0);
  if (first.code == '\'') {
    if (const size_t contraction = Contraction(text); contraction > 0) return contraction;
  }
  if (first.kind == kLetter) return EndOf(kLetter, text, first.bytes);
  if (first.kind == kNumber) {
    size_t end = first.bytes;
    for (int digits = 1; digits < 3 && end < text.size(); ++digits) {
      const Character next = At(text, end);
      if (next.kind != kNumber) break;
      end += next.bytes;
    }
    return end;
  }
  const bool newline = first.code == '\r' || first.code == '\n';
  const size_t second = first.bytes;
  const Class next = second < text.size() ? At(text, second).kind : kSpace;
  if (!newline && next == kLetter) return EndOf(kLetter, text, second);
  if (first.kind == kSymbol || (first.code == ' ' && next == kSymbol)) {
    size_t end = EndOf(kSymbol, text, second);
    while (end < text.size() && (text[end] == '\r' || text[end] == '\n')) ++end;
    return end;
  }
  return WhiteSpace(text);
}

}  // namespace reembed
