// SPDX-License-Identifier: Apache-2.0
#include "engine/number/number_text.h"

#include <charconv>
#include <cmath>
#include <cstddef>

#include "absl/strings/string_view.h"

namespace reembed {
namespace {

// The shortest decimal form of a number: 0.DIGITS * 10^point.
struct Decimal {
  bool negative = false;
  char digits[24];
  int count = 0;
  int point = 0;
};

Decimal ShortestDecimal(double value) {
  char text[40];
  const char* const end = std::to_chars(text, text + sizeof(text), value, std::chars_format::scientific).ptr;
  Decimal decimal;
  const char* at = text;
  if (*at == '-') {
    decimal.negative = true;
    ++at;
  }
  for (; *at != 'e'; ++at) {
    if (*at != '.') decimal.digits[decimal.count++] = *at;
  }
  ++at;
  if (*at == '+') ++at;  // from_chars takes no plus
  std::from_chars(at, end, decimal.point);
  ++decimal.point;
  return decimal;
}

void AppendZeros(int count, std::string* out) { out->append(static_cast<size_t>(count), '0'); }

void AppendDigits(const Decimal& decimal, int begin, int end, std::string* out) {
  out->append(decimal.digits + begin, static_cast<size_t>(end - begin));
}

void AppendPlain(const Decimal& decimal, std::string* out) {
  if (decimal.point <= 0) {
    out->append("0.");
    AppendZeros(-decimal.point, out);
    AppendDigits(decimal, 0, decimal.count, out);
  } else if (decimal.point >= decimal.count) {
    AppendDigits(decimal, 0, decimal.count, out);
    AppendZeros(decimal.point - decimal.count, out);
  } else {
    AppendDigits(decimal, 0, decimal.point, out);
    out->push_back('.');
    AppendDigits(decimal, decimal.point, decimal.count, out);
  }
}

void AppendWithExponent(const Decimal& decimal, int least_exponent_digits, std::string* out) {
  AppendDigits(decimal, 0, 1, out);
  if (decimal.count > 1) {
    out->push_back('.');
    AppendDigits(decimal, 1, decimal.count, out);
  }
  const int exponent = decimal.point - 1;
  out->append(exponent < 0 ? "e-" : "e+");
  const int size = exponent < 0 ? -exponent : exponent;
  if (size < 10) AppendZeros(least_exponent_digits - 1, out);
  char text[8];
  out->append(text, std::to_chars(text, text + sizeof(text), size).ptr);
}

}  // namespace

void AppendJsNumber(double value, std::string* out) {
  if (!std::isfinite(value)) {
    out->append("null");
    return;
  }
  if (value == 0) {
    out->push_back('0');
    return;
  }
  const Decimal decimal = ShortestDecimal(value);
  if (decimal.negative) out->push_back('-');
  if (decimal.point > -6 && decimal.point <= 21) {
    AppendPlain(decimal, out);
  } else {
    AppendWithExponent(decimal, 1, out);
  }
}

void AppendPythonNumber(double value, std::string* out) {
  if (!std::isfinite(value)) {
    out->append(std::isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
    return;
  }
  const Decimal decimal = ShortestDecimal(value);
  if (decimal.negative) out->push_back('-');
  if (decimal.point > -4 && decimal.point <= 16) {
    AppendPlain(decimal, out);
    if (decimal.point >= decimal.count) out->append(".0");
  } else {
    AppendWithExponent(decimal, 2, out);
  }
}

}  // namespace reembed
