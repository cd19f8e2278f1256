// SPDX-License-Identifier: Apache-2.0
#include "engine/number/float_list.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace reembed {
namespace {

constexpr size_t kMaxBytes = 24;  // of a number, with what is written behind its end, and a comma
constexpr size_t kBlock = 64;     // numbers that are written before they are appended
constexpr uint32_t kEight = 100'000'000;
constexpr uint32_t kOneBits = 0x3f800000;
constexpr int kMantissaBits = 23;
constexpr int kBinades = 24;  // below 1 that go the fast way; embeddings hardly have others

// How numbers from 2^-n up to the double of that are written, n = 1 ... kBinades.
struct Binade {
  double scale = 0;  // 10^decimals
  int decimals = 0;  // 8 to 15
};

// The least decimals with which neighbours differ: 10^-decimals is below their distance 2^-(n + 23), by an eighth at
// least (n = 20). So the nearest decimal is no further from its float than 0.44 of that, and the roundings of double,
// 2^-53 of the number each, do not matter.
constexpr std::array<Binade, kBinades + 1> MakeBinades() {
  std::array<Binade, kBinades + 1> binades{};
  for (int n = 1; n <= kBinades; ++n) {
    Binade binade{.scale = 1};
    for (; binade.scale < static_cast<double>(uint64_t{1} << (n + kMantissaBits)); ++binade.decimals) {
      binade.scale *= 10;
    }
    binades[static_cast<size_t>(n)] = binade;
  }
  return binades;
}
constexpr std::array<Binade, kBinades + 1> kBinadeTable = MakeBinades();
static_assert(kBinadeTable[1].decimals == 8 && kBinadeTable[kBinades].decimals == 15);

// Eight digits as bytes, the first one lowest: three steps that split pairs of numbers side by side.
uint64_t EightDigits(uint32_t number) {
  const uint64_t fours = (number / 10000) | (uint64_t{number % 10000} << 32);
  const uint64_t hundreds = ((fours * 10486) >> 20) & 0x7f0000007f;  // of each: / 100
  const uint64_t twos = hundreds | ((fours - hundreds * 100) << 16);
  const uint64_t tens = ((twos * 103) >> 10) & 0x000f000f000f000f;  // of each: / 10
  return (tens | ((twos - tens * 10) << 8)) + 0x3030303030303030;
}

char* WriteSlowly(float number, char* to) {
  char* const end = std::to_chars(to, to + kMaxBytes, number).ptr;
  for (const char* at = to; at < end; ++at) {
    if (*at == '.' || *at == 'e') return end;
  }
  std::memcpy(end, ".0", 2);
  return end + 2;
}

// Returns the end; up to kMaxBytes may be written, also behind it.
char* WriteFloat(float number, char* to) {
  static_assert(std::endian::native == std::endian::little);
  const uint32_t bits = std::bit_cast<uint32_t>(number) & 0x7fffffff;
  const uint32_t binade = (kOneBits >> kMantissaBits) - (bits >> kMantissaBits);
  // A power of two is nearer to the float below it than to the one above.
  const bool is_power = (bits & ((uint32_t{1} << kMantissaBits) - 1)) == 0;
  if (binade - 1 >= static_cast<uint32_t>(kBinades) || is_power) return WriteSlowly(number, to);
  const Binade& form = kBinadeTable[binade];
  // Below 2^28: nine digits, of which the first may be zero; before them zeros.
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): lround would be a call, and here a half is added exactly.
  const auto digits = static_cast<uint32_t>(static_cast<double>(std::fabs(number)) * form.scale + 0.5);
  *to = '-';
  to += std::signbit(number) ? 1 : 0;
  std::memset(to + 2, '0', 8);
  char* const last = to + 2 + form.decimals - 8;
  last[-1] = static_cast<char>('0' + digits / kEight);
  const uint64_t eight = EightDigits(digits % kEight);
  std::memcpy(last, &eight, sizeof(eight));
  std::memcpy(to, "0.", 2);  // also over the first of nine digits, where there are eight
  return last + 8;
}

}  // namespace

void AppendFloatList(absl::Span<const float> numbers, std::string* out) {
  out->push_back('[');
  std::array<char, kBlock * kMaxBytes> block;
  for (size_t begin = 0; begin < numbers.size(); begin += kBlock) {
    char* to = block.data();
    for (const float number : numbers.subspan(begin, kBlock)) {
      to = WriteFloat(number, to);
      *to++ = ',';
    }
    out->append(block.data(), static_cast<size_t>(to - block.data()));
  }
  if (!numbers.empty()) out->pop_back();
  out->push_back(']');
}

}  // namespace reembed
