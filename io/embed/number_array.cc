#include "io/embed/number_array.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "absl/strings/numbers.h"

namespace reembed {
namespace {

// Exact in double, and so are their products and quotients with integers below 2^53 correctly rounded.
constexpr double kPowersOfTen[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

bool IsDigit(char c) { return static_cast<unsigned char>(c - '0') < 10; }
bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// Whether all eight bytes are digits, and their value, for little-endian loads.
bool EightDigits(uint64_t bytes) {
  return ((bytes & 0xF0F0F0F0F0F0F0F0u) | (((bytes + 0x0606060606060606u) & 0xF0F0F0F0F0F0F0F0u) >> 4)) ==
         0x3333333333333333u;
}
uint32_t ValueOfEight(uint64_t bytes) {
  static_assert(std::endian::native == std::endian::little);
  bytes -= 0x3030303030303030u;
  bytes = bytes * 10 + (bytes >> 8);  // pairs, in the even bytes
  const uint64_t mask = 0x000000FF000000FFu;
  return static_cast<uint32_t>(
      ((bytes & mask) * (100 + (1000000ull << 32)) + ((bytes >> 16) & mask) * (1 + (10000ull << 32))) >> 32);
}

// Walks over the text of an array. All loads stay within it.
class Reader {
 public:
  explicit Reader(absl::string_view json) : at_(json.data()), end_(json.data() + json.size()) {}

  void SkipSpace() {
    while (at_ < end_ && IsSpace(*at_)) ++at_;
  }
  bool Take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool AtEnd() const { return at_ == end_; }

  bool TakeNumber(float* out) {
    const char* const begin = at_;
    const bool negative = Take('-');
    mantissa_ = 0;
    digits_ = 0;
    const char* const first_digit = at_;
    TakeDigits();
    if (at_ == first_digit) return TakeWord(begin, out);
    if (*first_digit == '0' && at_ - first_digit > 1) return false;
    int exponent = 0;
    if (Take('.')) {
      const char* const fraction = at_;
      TakeDigits();
      if (at_ == fraction) return false;
      exponent = -static_cast<int>(at_ - fraction);
    }
    if (at_ < end_ && (*at_ == 'e' || *at_ == 'E') && !TakeExponent(&exponent)) return false;
    if (digits_ > 19 || exponent < -22 || exponent > 22 || !Scale(exponent, out)) {
      return ParseSlowly({begin, static_cast<size_t>(at_ - begin)}, out);
    }
    if (negative) *out = -*out;
    return true;
  }

 private:
  // mantissa * 10^exponent. False: not sure of the last bit.
  bool Scale(int exponent, float* out) const {
    const double power = kPowersOfTen[exponent < 0 ? -exponent : exponent];
    const double value = static_cast<double>(mantissa_);
    const double scaled = exponent < 0 ? value / power : value * power;
    *out = static_cast<float>(scaled);
    if (mantissa_ <= uint64_t{1} << 53) return true;
    // Rounded twice, so off by less than 2^-51 of itself: that seldom matters to a float.
    constexpr double kError = 0x1p-51;
    return static_cast<float>(scaled * (1 - kError)) == static_cast<float>(scaled * (1 + kError));
  }

  // Adds digits to the mantissa, which wraps after 19 significant ones: the caller looks at digits_.
  void TakeDigits() {
    while (end_ - at_ >= 8) {
      uint64_t eight;
      std::memcpy(&eight, at_, 8);
      if (!EightDigits(eight)) break;
      mantissa_ = mantissa_ * 100'000'000 + ValueOfEight(eight);
      digits_ += digits_ == 0 && mantissa_ == 0 ? 0 : 8;
      at_ += 8;
    }
    while (at_ < end_ && IsDigit(*at_)) {
      mantissa_ = mantissa_ * 10 + (*at_++ - '0');
      digits_ += digits_ == 0 && mantissa_ == 0 ? 0 : 1;
    }
  }

  bool TakeExponent(int* exponent) {
    ++at_;
    const bool negative = Take('-');
    if (!negative) Take('+');
    const char* const begin = at_;
    int value = 0;
    while (at_ < end_ && IsDigit(*at_)) {
      if (value < 100'000) value = value * 10 + (*at_ - '0');
      ++at_;
    }
    *exponent += negative ? -value : value;
    return at_ > begin;
  }

  static bool ParseSlowly(absl::string_view number, float* out) {
    double value = 0;
    if (!absl::SimpleAtod(number, &value)) return false;
    *out = static_cast<float>(value);
    return true;
  }

  bool TakeWord(const char* begin, float* out) {
    at_ = begin;
    Take('-');
    for (const absl::string_view word : {"null", "NaN", "nan", "Infinity", "inf"}) {
      if (static_cast<size_t>(end_ - at_) < word.size() || std::memcmp(at_, word.data(), word.size()) != 0) continue;
      at_ += word.size();
      *out = std::numeric_limits<float>::quiet_NaN();
      return true;
    }
    return false;
  }

  const char* at_;
  const char* const end_;
  uint64_t mantissa_ = 0;
  int digits_ = 0;  // significant ones; counted too high when zeros lead a block of eight
};

}  // namespace

std::optional<int> ParseNumberArray(absl::string_view json, absl::Span<float> out) {
  Reader reader(json);
  reader.SkipSpace();
  if (!reader.Take('[')) return std::nullopt;
  reader.SkipSpace();
  size_t count = 0;
  if (!reader.Take(']')) {
    for (;;) {
      float value = 0;
      if (!reader.TakeNumber(&value)) return std::nullopt;
      if (count < out.size()) out[count] = value;
      ++count;
      reader.SkipSpace();
      if (reader.Take(']')) break;
      if (!reader.Take(',')) return std::nullopt;
      reader.SkipSpace();
    }
  }
  reader.SkipSpace();
  if (!reader.AtEnd()) return std::nullopt;
  return static_cast<int>(count);
}

}  // namespace reembed
