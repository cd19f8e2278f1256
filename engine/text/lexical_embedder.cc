// SPDX-License-Identifier: Apache-2.0
#include "engine/text/lexical_embedder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace reembed {
namespace {

__extension__ using Uint128 = unsigned __int128;

// How much an occurrence counts. An n-gram is 1; a word of five letters has about twelve of them, so these weights
// give the word and its spelling about the same share of the vector. Short words are mostly function words and say
// little, hence the length as the weight.
constexpr int kGramWeight = 1;
constexpr int kMaxWordWeight = 6;
constexpr int kIdeographWeight = 2;
constexpr int kIdeographPairWeight = 3;  // most Chinese words have two characters
constexpr int kPunctuationWeight = 1;
constexpr int kSymbolWeight = 4;

// Counts are square roots within a window of this many distinct features; a longer text is the sum of its windows.
// That bounds the memory: 512 KiB, however long the text is.
constexpr size_t kWindowFeatures = size_t{1} << 15;
constexpr uint32_t kMaxCount = 1023;  // further occurrences in the same window add nothing

// Round(1024 * sqrt(n + 1)) - Round(1024 * sqrt(n)): what the (n+1)-th occurrence adds.
constexpr std::array<uint16_t, kMaxCount + 1> MakeRootSteps() {
  std::array<uint16_t, kMaxCount + 1> steps{};
  uint64_t last = 0;
  uint64_t half_units = 0;  // floor(2048 * sqrt(n + 1)), so that adding one and halving rounds
  for (uint64_t n = 0; n < kMaxCount; ++n) {
    while ((half_units + 1) * (half_units + 1) <= (n + 1) << 22) ++half_units;
    const uint64_t root = (half_units + 1) / 2;
    steps[n] = static_cast<uint16_t>(root - last);
    last = root;
  }
  return steps;  // the last step stays 0
}
constexpr std::array<uint16_t, kMaxCount + 1> kRootSteps = MakeRootSteps();

// ---- characters --------------------------------------------------------------------------------------------------

enum class Kind : uint8_t { kLetter, kIdeograph, kSymbol, kPunctuation, kSpace, kIgnored };

struct Character {
  uint32_t code = 0;  // case-folded code point; above kInvalidByte: a byte that is not UTF-8
  Kind kind = Kind::kSpace;
};

constexpr uint32_t kInvalidByte = 0x110000;
constexpr uint32_t kWordStart = 0x1FFFFE;  // both beyond Unicode, and within 21 bits
constexpr uint32_t kWordEnd = 0x1FFFFF;
constexpr uint64_t kThreeCharacters = (uint64_t{1} << 63) - 1;

constexpr std::array<Character, 128> MakeAscii() {
  std::array<Character, 128> table{};
  for (uint32_t c = 0; c < 128; ++c) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool letter = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    table[c].code = upper ? c + 32 : c;
    table[c].kind = letter ? Kind::kLetter : c > ' ' && c < 127 ? Kind::kPunctuation : Kind::kSpace;
  }
  return table;
}
constexpr std::array<Character, 128> kAscii = MakeAscii();

constexpr bool In(uint32_t c, uint32_t first, uint32_t last) { return c - first <= last - first; }

// Simple case folding of the alphabets that have case and are common: Latin, Greek, Cyrillic, Armenian.
uint32_t FoldCase(uint32_t c) {
  if (In(c, 0xC0, 0xDE)) return c + 32;
  if (In(c, 0x100, 0x17F)) {
    if (c == 0x130 || c == 0x131) return 'i';  // Turkish, dotted and dotless
    if (c == 0x178) return 0xFF;
    if (c == 0x17F) return 's';
    if (In(c, 0x139, 0x148) || In(c, 0x179, 0x17E)) return c + (c & 1);
    return c == 0x138 || c == 0x149 ? c : c | 1;
  }
  if (In(c, 0x391, 0x3A9)) return c + 32;
  if (c == 0x386) return 0x3AC;
  if (In(c, 0x388, 0x38A)) return c + 37;
  if (c == 0x38C) return 0x3CC;
  if (c == 0x38E || c == 0x38F) return c + 63;
  if (c == 0x3C2) return 0x3C3;
  if (In(c, 0x410, 0x42F)) return c + 32;
  if (In(c, 0x400, 0x40F)) return c + 80;
  if (In(c, 0x460, 0x481) || In(c, 0x48A, 0x4BF) || In(c, 0x4D0, 0x52F)) return c | 1;
  if (In(c, 0x531, 0x556)) return c + 48;
  return c;
}

// Coarse, by blocks: what separates words, and which scripts are written without spaces and mean something character
// by character. Unicode 15 code charts.
Kind KindOf(uint32_t c) {
  if (c < 0xC0) {
    if (c <= 0xA0) return Kind::kSpace;
    if (c == 0xAD) return Kind::kIgnored;
    return c == 0xAA || c == 0xB5 || c == 0xBA ? Kind::kLetter : Kind::kPunctuation;
  }
  if (c < 0x2000) return c == 0xD7 || c == 0xF7 ? Kind::kPunctuation : c == 0x1680 ? Kind::kSpace : Kind::kLetter;
  if (c < 0x2070) {
    if (c <= 0x200A || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F) return Kind::kSpace;
    return In(c, 0x200B, 0x200F) || In(c, 0x202A, 0x202E) || c >= 0x2060 ? Kind::kIgnored : Kind::kPunctuation;
  }
  if (In(c, 0x20A0, 0x20CF)) return Kind::kPunctuation;
  if (In(c, 0x2190, 0x2BFF)) return Kind::kSymbol;
  if (In(c, 0x2E00, 0x2E7F)) return Kind::kPunctuation;
  if (In(c, 0x2E80, 0x9FFF)) {
    if (c == 0x3000) return Kind::kSpace;
    const bool mark = In(c, 0x3001, 0x3004) || In(c, 0x3008, 0x3020) || c == 0x3030 || c == 0x30FB;
    return mark ? Kind::kPunctuation : Kind::kIdeograph;
  }
  if (In(c, 0xF900, 0xFAFF) || In(c, 0xFF66, 0xFF9F) || In(c, 0x20000, 0x3FFFF)) return Kind::kIdeograph;
  if (In(c, 0xFE00, 0xFE0F) || c == 0xFEFF || In(c, 0x1F3FB, 0x1F3FF) || In(c, 0xE0000, 0xE0FFF)) return Kind::kIgnored;
  if (In(c, 0xFE10, 0xFE6F) || In(c, 0xFF5F, 0xFF65)) return Kind::kPunctuation;
  if (In(c, 0x1F000, 0x1FAFF) || c == 0xFFFD) return Kind::kSymbol;
  return Kind::kLetter;
}

Character Classify(uint32_t c) {
  if (In(c, 0xFF01, 0xFF5E)) c -= 0xFEE0;  // full-width ASCII
  if (c < 128) return kAscii[c];
  const Kind kind = KindOf(c);
  return {kind == Kind::kLetter ? FoldCase(c) : c, kind};
}

// Reads the character at *p, which is not ASCII, and moves *p behind it. A byte that begins no well-formed sequence
// (Unicode 15, table 3-7) is a character of its own.
Character ReadBeyondAscii(const unsigned char** p, const unsigned char* end) {
  const unsigned char* const s = *p;
  const ptrdiff_t left = end - s;
  const auto tail = [s](int i) { return (s[i] & 0xC0) == 0x80; };
  if (In(s[0], 0xC2, 0xDF) && left >= 2 && tail(1)) {
    *p += 2;
    return Classify((s[0] & 0x1Fu) << 6 | (s[1] & 0x3Fu));
  }
  if (In(s[0], 0xE0, 0xEF) && left >= 3 && tail(1) && tail(2)) {
    const uint32_t c = (s[0] & 0x0Fu) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
    if (c >= 0x800 && !In(c, 0xD800, 0xDFFF)) {
      *p += 3;
      return Classify(c);
    }
  }
  if (In(s[0], 0xF0, 0xF4) && left >= 4 && tail(1) && tail(2) && tail(3)) {
    const uint32_t c = (s[0] & 0x07u) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 | (s[3] & 0x3Fu);
    if (In(c, 0x10000, 0x10FFFF)) {
      *p += 4;
      return Classify(c);
    }
  }
  *p += 1;
  return {kInvalidByte + s[0], Kind::kLetter};
}

// ---- features ----------------------------------------------------------------------------------------------------

// A 64-bit hash of code points, the same on every machine. The salt keeps kinds of features apart.
constexpr uint64_t kSalt3 = 0x9E3779B97F4A7C15, kSalt4 = 0xD6E8FEB86659FD93, kSalt5 = 0xA0761D6478BD642F;
constexpr uint64_t kSaltWord = 0xE7037ED1A0B428DB, kSaltSingle = 0x8EBC6AF09C88C6E3, kSaltPair = 0x589965CC75374CC3;

constexpr uint64_t Mix(uint64_t x) {
  x *= 0xFF51AFD7ED558CCD;
  x ^= x >> 32;
  x *= 0xC4CEB9FE1A85EC53;
  return x ^ x >> 29;
}

// Counts the features of one text and adds them up, hashed with a sign, into `sums`.
class FeatureSums {
 public:
  FeatureSums(size_t text_bytes, absl::Span<int64_t> sums) : sums_(sums) {
    // A byte adds at most four features, so half of the slots stay free.
    const size_t bytes = std::min(text_bytes, kWindowFeatures);
    slots_.assign(std::bit_ceil(std::clamp<size_t>(8 * bytes, 64, 2 * kWindowFeatures)), 0);
    mask_ = slots_.size() - 1;
  }

  void Add(uint64_t hash, int weight) {
    size_t i = hash >> 16 & mask_;
    while (slots_[i] != 0 && (slots_[i] ^ hash) >> 16 != 0) i = (i + 1) & mask_;
    uint64_t& slot = slots_[i];
    if (slot == 0) {
      slot = hash & ~uint64_t{0xFFFF};
      ++used_;
    }
    const uint32_t count = slot & 0xFFFF;
    if (count < kMaxCount) ++slot;
    const int64_t amount = int64_t{kRootSteps[count]} * weight;
    int64_t& sum = sums_[(hash >> 32) * sums_.size() >> 32];
    sum += (hash & 1) != 0 ? -amount : amount;
    if (used_ == kWindowFeatures) [[unlikely]]
      StartWindow();
  }

 private:
  void StartWindow() {
    std::fill(slots_.begin(), slots_.end(), 0);
    used_ = 0;
  }

  const absl::Span<int64_t> sums_;
  std::vector<uint64_t> slots_;  // open addressing; upper 48 bits: of the hash, lower 16: the count. 0: free
  size_t mask_ = 0;
  size_t used_ = 0;
};

// Splits a text into words, ideographs, symbols and punctuation, and gives out their features.
class Features {
 public:
  explicit Features(FeatureSums* sums) : sums_(*sums) {}

  void AddText(absl::string_view text) {
    const auto* p = reinterpret_cast<const unsigned char*>(text.data());
    const unsigned char* const end = p + text.size();
    while (p < end) {
      const Character c = *p < 128 ? kAscii[*p++] : ReadBeyondAscii(&p, end);
      if (c.kind == Kind::kLetter) {
        AddLetter(c.code);
      } else if (c.kind != Kind::kIgnored) {
        EndWord();
        AddOther(c);
      }
    }
    EndWord();
  }

 private:
  void AddLetter(uint32_t code) {
    if (letters_ == 0) {
      last_ideograph_ = 0;
      AddToWord(kWordStart);
    }
    ++letters_;
    word_hash_ = (word_hash_ ^ code) * 0x9FB21C651E98DF25;
    word_hash_ ^= word_hash_ >> 35;
    AddToWord(code);
  }

  void EndWord() {
    if (letters_ == 0) return;
    AddToWord(kWordEnd);
    sums_.Add(Mix(word_hash_ ^ kSaltWord), static_cast<int>(std::min<size_t>(letters_, kMaxWordWeight)));
    letters_ = length_ = 0;
    word_hash_ = last_three_ = fourth_ = fifth_ = 0;
  }

  // Adds the n-grams that end in this character, within the word and its two marks.
  void AddToWord(uint32_t code) {
    fifth_ = fourth_;
    fourth_ = last_three_ >> 42;
    last_three_ = (last_three_ << 21 | code) & kThreeCharacters;
    if (++length_ < 3) return;
    sums_.Add(Mix(last_three_ ^ kSalt3), kGramWeight);
    if (length_ < 4) return;
    const uint64_t four = last_three_ + fourth_ * kSalt4;
    sums_.Add(Mix(four ^ kSalt4), kGramWeight);
    if (length_ < 5) return;
    sums_.Add(Mix((four + fifth_ * kSalt5) ^ kSalt5), kGramWeight);
  }

  void AddOther(Character c) {
    if (c.kind == Kind::kSpace) {
      last_ideograph_ = 0;
      return;
    }
    const bool ideograph = c.kind == Kind::kIdeograph;
    const int weight = ideograph ? kIdeographWeight : c.kind == Kind::kSymbol ? kSymbolWeight : kPunctuationWeight;
    sums_.Add(Mix(c.code ^ kSaltSingle), weight);
    if (ideograph && last_ideograph_ != 0) {
      sums_.Add(Mix((uint64_t{last_ideograph_} << 21 | c.code) ^ kSaltPair), kIdeographPairWeight);
    }
    last_ideograph_ = ideograph ? c.code : 0;
  }

  FeatureSums& sums_;
  size_t letters_ = 0;  // of the word that is open; 0: none is
  size_t length_ = 0;   // the same with its marks
  uint64_t word_hash_ = 0;
  uint64_t last_three_ = 0;  // 21 bits each
  uint64_t fourth_ = 0;      // the characters before those
  uint64_t fifth_ = 0;
  uint32_t last_ideograph_ = 0;
};

// floor(sqrt(x)), bit by bit.
uint64_t IntegerRoot(Uint128 x) {
  Uint128 root = 0;
  for (Uint128 bit = Uint128{1} << 126; bit != 0; bit >>= 2) {
    const bool fits = x >= root + bit;
    if (fits) x -= root + bit;
    root = (root >> 1) + (fits ? bit : 0);
  }
  return static_cast<uint64_t>(root);
}

// Writes sums / |sums| to `out`; false when all are zero. No sum exceeds 2^57 (a text of 2^40 bytes), so the squares
// of 4,096 of them fit.
[[nodiscard]] bool Scale(absl::Span<const int64_t> sums, absl::Span<float> out) {
  Uint128 square = 0;
  for (const int64_t sum : sums) {
    const uint64_t size = sum < 0 ? -static_cast<uint64_t>(sum) : static_cast<uint64_t>(sum);
    square += Uint128{size} * size;
  }
  if (square == 0) return false;
  // A root of 63 bits: the square is moved up by an even number of bits, and the sums by half as many, which is exact.
  const auto high = static_cast<uint64_t>(square >> 64);
  const int zeros = high != 0 ? std::countl_zero(high) : 64 + std::countl_zero(static_cast<uint64_t>(square));
  const int shift = zeros / 2;
  const auto norm = static_cast<double>(IntegerRoot(square << 2 * shift));
  const auto unit = static_cast<double>(uint64_t{1} << shift);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(static_cast<double>(sums[i]) * unit / norm);
  return true;
}

}  // namespace

void EmbedLexically(absl::string_view text, absl::Span<float> out) {
  std::array<int64_t, kMaxLexicalDim> storage;
  const absl::Span<int64_t> sums(storage.data(), out.size());
  std::fill(sums.begin(), sums.end(), 0);
  FeatureSums feature_sums(text.size(), sums);
  Features(&feature_sums).AddText(text);
  if (Scale(sums, out)) return;
  // No feature, or they cancelled each other: bytes without a sign cannot.
  for (const char byte : text) {
    const uint64_t hash = Mix(static_cast<unsigned char>(byte) ^ kSaltSingle);
    sums[(hash >> 32) * sums.size() >> 32] += 1024;
  }
  (void)Scale(sums, out);
}

}  // namespace reembed
