// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_number.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <limits>
#include <system_error>

#include "absl/strings/numbers.h"

namespace reembed {
namespace {

// Exact in double.
constexpr double kPowersOfTen[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr int kGreatestPower = std::size(kPowersOfTen) - 1;
constexpr int kMaxDigits = 19;  // of which any number fits into 64 bits

bool IsDigit(char c) { return static_cast<unsigned char>(c - '0') < 10; }

// A number taken apart: digits * 10^exponent.
class Decimal {
 public:
  // Whether the whole text is a number.
  bool Parse(absl::string_view text) {
    at_ = text.data();
    end_ = at_ + text.size();
    negative_ = Take('-');
    const char* const integer = at_;
    TakeDigits();
    if (at_ == integer || (*integer == '0' && at_ - integer > 1)) return false;
    if (Take('.')) {
      const char* const fraction = at_;
      TakeDigits();
      if (at_ == fraction) return false;
      exponent_ -= at_ - fraction;
    }
    if ((Take('e') || Take('E')) && !TakeExponent()) return false;
    return at_ == end_;
  }

  // nullopt: this way is not sure of the last bit.
  std::optional<float> ToFloat() const {
    if (digits_ > kMaxDigits || exponent_ < -kGreatestPower || exponent_ > kGreatestPower) return std::nullopt;
    // Two roundings, of the digits and of the result, each by half a unit in the last place.
    const double power = kPowersOfTen[exponent_ < 0 ? -exponent_ : exponent_];
    const double value = static_cast<double>(mantissa_);
    const double scaled = exponent_ < 0 ? value / power : value * power;
    if (scaled != 0 && (scaled < 0x1p-125 || scaled > 0x1p126 || !TellsNearestFloat(scaled))) return std::nullopt;
    return static_cast<float>(negative_ ? -scaled : scaled);
  }

 private:
  bool Take(char c) {
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  // Adds them to the mantissa, which wraps behind kMaxDigits: nobody looks at it then.
  void TakeDigits() {
    for (; at_ < end_ && IsDigit(*at_); ++at_) {
      mantissa_ = mantissa_ * 10 + static_cast<uint64_t>(*at_ - '0');
      digits_ += digits_ > 0 || *at_ != '0' ? 1 : 0;
    }
  }

  bool TakeExponent() {
    constexpr int64_t kEnough = 1'000'000'000'000;  // any text that fits into memory has fewer digits
    const bool negative = Take('-');
    if (!negative) Take('+');
    const char* const begin = at_;
    int64_t value = 0;
    for (; at_ < end_ && IsDigit(*at_); ++at_) {
      if (value < kEnough) value = value * 10 + (*at_ - '0');
    }
    exponent_ += negative ? -value : value;
    return at_ > begin;
  }

  const char* at_ = nullptr;
  const char* end_ = nullptr;
  bool negative_ = false;
  uint64_t mantissa_ = 0;
  int64_t digits_ = 0;  // from the first that is not zero
  int64_t exponent_ = 0;
};

float ParseSlowly(absl::string_view number) {
  float value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc::result_out_of_range) return value;
  // It says so for the very large and for what rounds to zero, and promises no value then.
  double rough = 0;
  if (!absl::SimpleAtod(number, &rough)) rough = 0;
  const float magnitude = std::fabs(rough) > 1 ? std::numeric_limits<float>::infinity() : 0.0f;
  return number.front() == '-' ? -magnitude : magnitude;
}

bool IsNotANumber(absl::string_view text) {
  if (!text.empty() && text.front() == '-') text.remove_prefix(1);
  return text == "null" || text == "NaN" || text == "nan" || text == "Infinity" || text == "inf";
}

}  // namespace

std::optional<float> ParseJsonNumber(absl::string_view text) {
  Decimal decimal;
  if (decimal.Parse(text)) {
    const std::optional<float> value = decimal.ToFloat();
    return value.has_value() ? *value : ParseSlowly(text);
  }
  if (IsNotANumber(text)) return std::numeric_limits<float>::quiet_NaN();
  return std::nullopt;
}

}  // namespace reembed
