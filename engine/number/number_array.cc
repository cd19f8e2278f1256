// SPDX-License-Identifier: Apache-2.0
#include "engine/number/number_array.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "engine/number/json_number.h"

// This file is compiled once per SIMD target; HWY_DYNAMIC_DISPATCH picks the best one for the processor at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/number/number_array.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef REEMBED_ENGINE_NUMBER_ARRAY_ONCE
#define REEMBED_ENGINE_NUMBER_ARRAY_ONCE
namespace reembed {
namespace {

static_assert(std::endian::native == std::endian::little, "eight digits are loaded as one integer");

constexpr size_t kBlock = 64;           // characters whose commas make one word of bits
constexpr size_t kChunk = 64 * kBlock;  // characters whose commas are found before their numbers are read
constexpr size_t kGroup = 64;           // numbers that are taken apart before they are worked out
constexpr size_t kDigits = 24;          // behind the point; more take the slow way
constexpr uint64_t kZeros = 0x3030303030303030u;

struct Tables {
  double inverse[kDigits + 1];    // 10^-i, rounded
  uint64_t keep[kDigits + 1][3];  // what keeps the last i of 24 characters
};

constexpr Tables MakeTables() {
  Tables tables = {{1e0,   1e-1,  1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,  1e-8,  1e-9,  1e-10, 1e-11, 1e-12,
                    1e-13, 1e-14, 1e-15, 1e-16, 1e-17, 1e-18, 1e-19, 1e-20, 1e-21, 1e-22, 1e-23, 1e-24},
                   {}};
  for (size_t digits = 0; digits <= kDigits; ++digits) {
    for (size_t word = 0; word < 3; ++word) {
      const size_t behind = 8 * (2 - word);  // characters between this word and the end
      const size_t kept = digits <= behind ? 0 : digits - behind >= 8 ? 8 : digits - behind;
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

// Numbers taken apart, one per lane: sign, one digit, a point and up to 24 digits, which is what most numbers of a
// vector look like. '0' is taken from each digit by exclusive or; a byte above 9 marks a number of another form.
struct Group {
  uint64_t integer[kGroup] = {};
  uint64_t high[kGroup] = {};  // 24 digits, the first of each eight in the lowest byte
  uint64_t middle[kGroup] = {};
  uint64_t low[kGroup] = {};
  double inverse[kGroup] = {};  // 10^-(digits behind the point)
  uint32_t sign[kGroup] = {};   // the sign bit of a float
};

// Walks over the spaces before numbers.
class SpaceSkipper {
 public:
  HWY_INLINE const char* Skip(const char* at, const char* stop) {
    if (*at > ' ') return at;
    if (stop - at > 16) {
      if (IsSpace(at[0]) && at[1] > ' ') return at + 1;
      // An array that is indented has the same spaces before all numbers.
      const size_t same = last_.size();
      if (same >= 8 && same <= 16 && at[same] > ' ' && Load8(at) == Load8(last_.data()) &&
          Load8(at + same - 8) == Load8(last_.data() + same - 8)) {
        return at + same;
      }
    }
    return SkipAny(at, stop);
  }

 private:
  HWY_NOINLINE const char* SkipAny(const char* at, const char* stop) {
    const char* const begin = at;
    while (at < stop && IsSpace(*at)) ++at;
    last_ = {begin, static_cast<size_t>(at - begin)};
    return at;
  }

  absl::string_view last_;  // spaces before an earlier number
};

// Takes the number between two commas apart. The 24 characters before `stop` must be readable.
HWY_INLINE void TakeApart(const char* begin, const char* stop, size_t lane, Group* group) {
  const bool negative = *begin == '-';
  const char* const integer = begin + (negative ? 1 : 0);
  const size_t digits = static_cast<size_t>(stop - integer) - 2;  // wraps: then they are too many
  if (digits - 1 >= kDigits || integer[1] != '.') {
    group->integer[lane] = 0xFF;
    return;
  }
  const uint64_t* const keep = kTables.keep[digits];
  group->integer[lane] = static_cast<unsigned char>(*integer) ^ uint64_t { '0' };
  group->high[lane] = (Load8(stop - 24) ^ kZeros) & keep[0];
  group->middle[lane] = (Load8(stop - 16) ^ kZeros) & keep[1];
  group->low[lane] = (Load8(stop - 8) ^ kZeros) & keep[2];
  group->inverse[lane] = kTables.inverse[digits];
  group->sign[lane] = static_cast<uint32_t>(negative) << 31;
}

// Any number, with spaces around it. False: it is none.
HWY_NOINLINE bool ReadAny(const char* begin, const char* stop, float* out) {
  while (begin < stop && IsSpace(*begin)) ++begin;
  while (begin < stop && IsSpace(stop[-1])) --stop;
  const std::optional<float> value = ParseJsonNumber({begin, static_cast<size_t>(stop - begin)});
  if (value.has_value()) *out = *value;
  return value.has_value();
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

uint64_t WorkOut(const Group&, size_t, float*) { return ~uint64_t{0}; }
#else
// Bit i: text[i] is a comma, for kBlock characters.
HWY_INLINE uint64_t CommaBits(const char* text) {
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

constexpr hn::CappedTag<double, 8> kDoubles;
constexpr hn::Rebind<float, decltype(kDoubles)> kFloats;
constexpr hn::Rebind<uint32_t, decltype(kDoubles)> kFloatBits;
constexpr hn::RebindToUnsigned<decltype(kDoubles)> kWords;
constexpr hn::RebindToSigned<decltype(kDoubles)> kSignedWords;
constexpr hn::Repartition<uint32_t, decltype(kDoubles)> kQuads;
constexpr hn::Repartition<uint16_t, decltype(kDoubles)> kPairs;
constexpr hn::Repartition<uint8_t, decltype(kDoubles)> kBytes8;
using Words = hn::Vec<decltype(kWords)>;

// Eight digits per lane as one number: 8 x 1 digit -> 4 x 2 -> 2 x 4 -> 1 x 8.
HWY_INLINE hn::Vec<decltype(kDoubles)> ValueOfEight(Words digits) {
  const auto tens = hn::Add(hn::ShiftLeft<3>(digits), hn::ShiftLeft<1>(digits));
  const auto two = hn::And(hn::Add(tens, hn::ShiftRight<8>(digits)), hn::Set(kWords, 0x00FF00FF00FF00FFu));
  const auto hundreds = hn::Mul(hn::BitCast(kPairs, two), hn::Set(kPairs, 100));
  const auto four = hn::Add(hn::And(hn::BitCast(kQuads, hundreds), hn::Set(kQuads, 0xFFFF)),
                            hn::ShiftRight<16>(hn::BitCast(kQuads, two)));
  const auto eight = hn::Add(hn::BitCast(kWords, hn::MulEven(four, hn::Set(kQuads, 10'000))),
                             hn::ShiftRight<32>(hn::BitCast(kWords, four)));
  // Below 2^52, so these are the low bits of 2^52 + eight.
  const auto magic = hn::Set(kDoubles, 0x1p52);
  return hn::Sub(hn::BitCast(kDoubles, hn::Or(eight, hn::BitCast(kWords, magic))), magic);
}

// Works out the first `count` numbers of a group; `out` has room for kGroup. Bit i of the answer: number i is of
// another form, or its last bit is in doubt.
HWY_INLINE uint64_t WorkOut(const Group& group, size_t count, float* out) {
  const size_t lanes = hn::Lanes(kDoubles);
  uint64_t doubtful = 0;
  for (size_t i = 0; i < count; i += lanes) {
    const auto integer = hn::LoadU(kWords, group.integer + i);
    const auto high = hn::LoadU(kWords, group.high + i);
    const auto middle = hn::LoadU(kWords, group.middle + i);
    const auto low = hn::LoadU(kWords, group.low + i);
    const auto greatest = hn::Max(hn::Max(hn::BitCast(kBytes8, integer), hn::BitCast(kBytes8, high)),
                                  hn::Max(hn::BitCast(kBytes8, middle), hn::BitCast(kBytes8, low)));
    const auto above9 = hn::And(hn::Or(greatest, hn::Add(greatest, hn::Set(kBytes8, 0x76))), hn::Set(kBytes8, 0x80));

    // Each step rounds by half a unit in the last place; together they stay below what TellsNearestFloat() allows. The
    // results are zero, or from 1e-24 to 10.
    auto digits = hn::MulAdd(ValueOfEight(middle), hn::Set(kDoubles, 1e8), ValueOfEight(low));
    digits = hn::MulAdd(ValueOfEight(high), hn::Set(kDoubles, 1e16), digits);
    const auto magic = hn::Set(kDoubles, 0x1p52);
    const auto whole = hn::Sub(hn::BitCast(kDoubles, hn::Or(integer, hn::BitCast(kWords, magic))), magic);
    const auto value = hn::MulAdd(digits, hn::LoadU(kDoubles, group.inverse + i), whole);

    const auto beyond =
        hn::And(hn::Sub(hn::BitCast(kWords, value), hn::Set(kWords, kDoubtBegin)), hn::Set(kWords, kBelowFloat));
    const auto in_doubt = hn::Lt(hn::BitCast(kSignedWords, beyond), hn::Set(kSignedWords, kDoubtLength));
    const auto other_form = hn::Ne(hn::BitCast(kSignedWords, above9), hn::Zero(kSignedWords));
    const auto bad = hn::Or(in_doubt, other_form);
    if (HWY_UNLIKELY(!hn::AllFalse(kSignedWords, bad))) {
      uint8_t bits[8] = {};
      hn::StoreMaskBits(kSignedWords, bad, bits);
      doubtful |= (uint64_t{bits[0]} & ((uint64_t{1} << lanes) - 1)) << i;
    }
    const auto magnitude = hn::BitCast(kFloatBits, hn::DemoteTo(kFloats, value));
    hn::StoreU(hn::BitCast(kFloats, hn::Or(magnitude, hn::LoadU(kFloatBits, group.sign + i))), kFloats, out + i);
  }
  return doubtful;
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

// The numbers between two brackets.
class ArrayReader {
 public:
  // What lies before `readable` is not ours.
  ArrayReader(const char* readable, absl::Span<float> out) : readable_(readable), out_(out) {}

  // `inner` is not blank. Returns the number of numbers; -1: something else is among them.
  int64_t Read(absl::string_view inner) {
    uint16_t commas[kChunk + 8];
    const char* begin = inner.data();
    for (size_t chunk = 0; chunk < inner.size(); chunk += kChunk) {
      const char* const text = inner.data() + chunk;
      const size_t count = FindCommas(text, inner.size() - chunk < kChunk ? inner.size() - chunk : kChunk, commas);
      for (size_t i = 0; i < count; i += kGroup) {
        begin = ReadGroup(begin, text, commas + i, count - i < kGroup ? count - i : kGroup);
        if (begin == nullptr) return -1;
      }
    }
    float last = 0;
    if (!ReadAny(begin, inner.data() + inner.size(), &last)) return -1;
    Store(&last, 1);
    return static_cast<int64_t>(count_);
  }

 private:
  // Reads the numbers that begin at `begin` and end at text[stops[i]]. Returns where the next begins; null: one is
  // none.
  const char* ReadGroup(const char* begin, const char* text, const uint16_t* stops, size_t count) {
    const char* const first = begin;
    for (size_t i = 0; i < count; ++i) {
      const char* const stop = text + stops[i];
      if (HWY_LIKELY(stop > begin && stop - readable_ >= static_cast<ptrdiff_t>(kDigits))) {
        begin = spaces_.Skip(begin, stop);
        TakeApart(begin, stop, i, &group_);
      } else {
        group_.integer[i] = 0xFF;
      }
      begin = stop + 1;
    }
    float values[kGroup];
    for (uint64_t doubtful = WorkOut(group_, count, values); doubtful != 0; doubtful &= doubtful - 1) {
      const size_t i = static_cast<size_t>(std::countr_zero(doubtful));
      if (i >= count) break;
      if (!ReadAny(i == 0 ? first : text + stops[i - 1] + 1, text + stops[i], &values[i])) return nullptr;
    }
    Store(values, count);
    return begin;
  }

  void Store(const float* values, size_t count) {
    if (count_ < out_.size()) {
      const size_t room = out_.size() - count_;
      std::memcpy(out_.data() + count_, values, (count < room ? count : room) * sizeof(float));
    }
    count_ += count;
  }

  const char* const readable_;
  const absl::Span<float> out_;
  size_t count_ = 0;
  SpaceSkipper spaces_;
  Group group_;
};

int64_t ReadNumbers(const char* readable, absl::string_view inner, absl::Span<float> out) {
  return ArrayReader(readable, out).Read(inner);
}

}  // namespace HWY_NAMESPACE
}  // namespace reembed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace reembed {
namespace {

HWY_EXPORT(ReadNumbers);

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
  const int64_t count = HWY_DYNAMIC_DISPATCH(ReadNumbers)(json.data(), inner, out);
  if (count < 0) return std::nullopt;
  return static_cast<int>(count);
}

}  // namespace reembed
#endif  // HWY_ONCE
