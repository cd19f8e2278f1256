#include "engine/number_array.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/json_number.h"

// This file is compiled once per SIMD target; HWY_DYNAMIC_DISPATCH picks the best one for the processor at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/number_array.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef REEMBED_ENGINE_NUMBER_ARRAY_ONCE
#define REEMBED_ENGINE_NUMBER_ARRAY_ONCE
namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "eight digits are loaded as one integer");

constexpr size_t kBlock = 64;           // characters whose commas make one word of bits
constexpr size_t kChunk = 64 * kBlock;  // characters whose commas are found before their numbers are read
constexpr size_t kFastFraction = 24;    // digits behind the point that the fast way takes

// Powers of ten, and for every number of digits behind the point what keeps just these of the 24 characters before the
// end of a number.
struct Tables {
  double inverse[kFastFraction + 1];  // 10^-i, rounded
  uint64_t power[17];                 // 10^i
  uint64_t keep[kFastFraction + 1][3];
};

constexpr Tables MakeTables() {
  Tables tables = {{1e0,   1e-1,  1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,  1e-8,  1e-9,  1e-10, 1e-11, 1e-12,
                    1e-13, 1e-14, 1e-15, 1e-16, 1e-17, 1e-18, 1e-19, 1e-20, 1e-21, 1e-22, 1e-23, 1e-24},
                   {},
                   {}};
  tables.power[0] = 1;
  for (size_t i = 1; i < 17; ++i) tables.power[i] = tables.power[i - 1] * 10;
  for (size_t digits = 0; digits <= kFastFraction; ++digits) {
    for (size_t word = 0; word < 3; ++word) {
      const size_t above = 8 * (2 - word);  // characters between this word and the end
      const size_t kept = digits <= above ? 0 : digits - above >= 8 ? 8 : digits - above;
      tables.keep[digits][word] = kept == 0 ? 0 : ~uint64_t{0} << (8 * (8 - kept));
    }
  }
  return tables;
}
constexpr Tables kTables = MakeTables();

inline bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

inline uint64_t Load8(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// Whether a byte is above 9; `digits` is what is left of eight characters after '0' was taken from each by exclusive
// or.
inline uint64_t NoDigits(uint64_t digits) {
  return (digits | ((digits & 0x7F7F7F7F7F7F7F7Fu) + 0x7676767676767676u)) & 0x8080808080808080u;
}

// Eight digits, the most significant in the lowest byte.
inline uint64_t ValueOfEight(uint64_t digits) {
  digits = digits * 10 + (digits >> 8);  // pairs, in the even bytes
  const uint64_t mask = 0x000000FF000000FFu;
  return (((digits & mask) * (100 + (1000000ull << 32)) + ((digits >> 16) & mask) * (1 + (10000ull << 32))) >> 32) &
         0xFFFFFFFFu;
}

// What most numbers of a vector look like: a minus perhaps, one digit, a point, 1 to 24 digits. False: it is not one of
// these, or its last bit is in doubt. The 24 characters before `stop` must be readable.
inline bool ReadShortFraction(const char* begin, const char* stop, float* out) {
  const bool negative = *begin == '-';
  const char* const integer = begin + (negative ? 1 : 0);
  const size_t fraction = static_cast<size_t>(stop - integer) - 2;  // wraps: then it is too long
  if (fraction - 1 >= kFastFraction || integer[1] != '.') return false;
  constexpr uint64_t kZeros = 0x3030303030303030u;
  const uint64_t* const keep = kTables.keep[fraction];
  const uint64_t low = (Load8(stop - 8) ^ kZeros) & keep[2];
  const uint64_t middle = (Load8(stop - 16) ^ kZeros) & keep[1];
  const uint64_t first = static_cast<unsigned char>(*integer) ^ uint64_t { '0' };
  uint64_t bad = NoDigits(low) | NoDigits(middle) | (first > 9 ? 1 : 0);
  uint64_t value = ValueOfEight(middle) * 100'000'000 + ValueOfEight(low);
  double scaled;
  if (fraction <= 16) {
    value += first * kTables.power[fraction];
    scaled = static_cast<double>(value) * kTables.inverse[fraction];
  } else {
    // Each step rounds by half a unit in the last place; all together stay below what TellsNearestFloat allows.
    const uint64_t high = (Load8(stop - 24) ^ kZeros) & keep[0];
    bad |= NoDigits(high);
    const uint64_t above = ValueOfEight(high) + first * kTables.power[fraction - 16];
    scaled = (static_cast<double>(above) * 1e16 + static_cast<double>(value)) * kTables.inverse[fraction];
  }
  // One digit before the point and 24 behind it: zero or from 1e-24 to 10.
  if (bad != 0 || !TellsNearestFloat(scaled)) return false;
  const auto magnitude = std::bit_cast<uint32_t>(static_cast<float>(scaled));
  *out = std::bit_cast<float>(magnitude | (negative ? 0x80000000u : 0u));
  return true;
}

// The numbers of one array, one by one.
class NumberReader {
 public:
  NumberReader(absl::string_view json, absl::Span<float> out) : readable_(json.data()), out_(out) {}

  // Reads what lies between two commas. False: that is no number.
  bool Read(const char* begin, const char* stop) {
    if (begin < stop && IsSpace(*begin)) begin = SkipSpaces(begin, stop);
    float unwanted;
    float* const to = count_ < out_.size() ? &out_[count_] : &unwanted;
    ++count_;
    if (stop - readable_ >= static_cast<ptrdiff_t>(kFastFraction) && begin < stop &&
        ReadShortFraction(begin, stop, to)) {
      return true;
    }
    return ReadAny(begin, stop, to);
  }

  size_t count() const { return count_; }

 private:
  // An array that is indented has the same spaces before all numbers.
  const char* SkipSpaces(const char* at, const char* stop) {
    const size_t same = spaces_.size();
    if (same >= 8 && same <= 16 && stop - at > 16 && Load8(at) == Load8(spaces_.data()) &&
        Load8(at + same - 8) == Load8(spaces_.data() + same - 8) && !IsSpace(at[same])) {
      return at + same;
    }
    const char* const begin = at;
    while (at < stop && IsSpace(*at)) ++at;
    spaces_ = {begin, static_cast<size_t>(at - begin)};
    return at;
  }

  static bool ReadAny(const char* begin, const char* stop, float* out);

  const char* const readable_;  // what lies before it is not ours
  absl::string_view spaces_;    // before an earlier number
  const absl::Span<float> out_;
  size_t count_ = 0;
};

bool NumberReader::ReadAny(const char* begin, const char* stop, float* out) {
  while (stop > begin && IsSpace(stop[-1])) --stop;
  const std::optional<float> value = ParseJsonNumber({begin, static_cast<size_t>(stop - begin)});
  if (!value.has_value()) return false;
  *out = *value;
  return true;
}

}  // namespace
}  // namespace reembed
#endif  // REEMBED_ENGINE_NUMBER_ARRAY_ONCE

HWY_BEFORE_NAMESPACE();
namespace reembed {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
uint64_t CommaBits(const char* text) {
  uint64_t bits = 0;
  for (size_t i = 0; i < kBlock; ++i) bits |= uint64_t{text[i] == ','} << i;
  return bits;
}
#else
// Bit i: text[i] is a comma, for kBlock characters.
uint64_t CommaBits(const char* text) {
  constexpr hn::CappedTag<uint8_t, kBlock> kBytes;
  const size_t lanes = hn::Lanes(kBytes);
  const auto comma = hn::Set(kBytes, static_cast<uint8_t>(','));
  uint8_t bits[kBlock / 8 + 8];  // a mask may be stored with more than it has
  for (size_t i = 0; i < kBlock; i += lanes) {
    const auto c = hn::LoadU(kBytes, reinterpret_cast<const uint8_t*>(text) + i);
    hn::StoreMaskBits(kBytes, hn::Eq(c, comma), bits + i / 8);
  }
  uint64_t word;
  std::memcpy(&word, bits, sizeof(word));
  return word;
}
#endif

// Where the commas are in `size` characters, at most kChunk, as distances from `text`. `at` has room for one distance
// per character and 8 more. Returns their number.
size_t FindCommas(const char* text, size_t size, uint16_t* at) {
  size_t count = 0;
  for (size_t block = 0; block < size; block += kBlock) {
    uint64_t bits;
    if (size - block >= kBlock) {
      bits = CommaBits(text + block);
    } else {
      char padded[kBlock] = {};
      std::memcpy(padded, text + block, size - block);
      bits = CommaBits(padded);
    }
    // Eight at a time whether they are there or not: a branch per comma would be guessed wrong once per block.
    size_t in_block = static_cast<size_t>(std::popcount(bits));
    uint16_t* to = at + count;
    count += in_block;
    for (;;) {
      for (int i = 0; i < 8; ++i) {
        to[i] = static_cast<uint16_t>(block + static_cast<size_t>(std::countr_zero(bits)));
        bits &= bits - 1;
      }
      if (in_block <= 8) break;
      in_block -= 8;
      to += 8;
    }
  }
  return count;
}

// Reads the numbers of `inner`, which is what lies between the brackets, not blank, except for the last.
// Returns where the last begins; null: one was none.
const char* ReadAllButLast(absl::string_view inner, NumberReader* reader) {
  uint16_t commas[kChunk + 8];
  const char* begin = inner.data();
  for (size_t chunk = 0; chunk < inner.size(); chunk += kChunk) {
    const char* const text = inner.data() + chunk;
    const size_t count = FindCommas(text, inner.size() - chunk < kChunk ? inner.size() - chunk : kChunk, commas);
    for (size_t i = 0; i < count; ++i) {
      const char* const comma = text + commas[i];
      if (!reader->Read(begin, comma)) return nullptr;
      begin = comma + 1;
    }
  }
  return begin;
}

}  // namespace HWY_NAMESPACE
}  // namespace reembed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reembed {
namespace {

HWY_EXPORT(ReadAllButLast);

absl::string_view WithoutSpaces(absl::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

std::optional<int> ParseNumberArray(absl::string_view json, absl::Span<float> out) {
  const absl::string_view array = WithoutSpaces(json);
  if (array.size() < 2 || array.front() != '[' || array.back() != ']') return std::nullopt;
  const absl::string_view inner = WithoutSpaces(array.substr(1, array.size() - 2));
  if (inner.empty()) return 0;
  NumberReader reader(json, out);
  const char* const last = HWY_DYNAMIC_DISPATCH(ReadAllButLast)(inner, &reader);
  if (last == nullptr || !reader.Read(last, inner.data() + inner.size())) return std::nullopt;
  return static_cast<int>(reader.count());
}

}  // namespace reembed
#endif  // HWY_ONCE
