// SPDX-License-Identifier: Apache-2.0
// JSON numbers and arrays of them against strtof; printed numbers are read as what they were.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/number/json_number.h"
#include "engine/number/number_array.h"
#include "engine/number/number_text.h"
#include "tests/fuzz/fuzz.h"

namespace reembed::fuzz {
namespace {

void CheckNumber(absl::string_view text) {
  const std::optional<float> number = ParseJsonNumber(text);
  if (!number.has_value() || std::isnan(*number)) return;
  const float expected = std::strtof(std::string(text).c_str(), nullptr);
  if (text == "Infinity" || text == "-Infinity") return;
  Require(SameBits({&*number, 1}, {&expected, 1}), "a number is what strtof makes of it");
}

void CheckArray(absl::string_view json) {
  std::vector<float> numbers(64), less(3);
  const std::optional<int> count = ParseNumberArray(json, absl::MakeSpan(numbers));
  Saw(count.has_value() ? "an array" : "none");
  Require(ParseNumberArray(json, absl::MakeSpan(less)) == count, "how many there are is not for the room");
  if (!count.has_value() || *count == 0) return;
  absl::string_view inside = absl::StripAsciiWhitespace(json);
  Require(absl::ConsumePrefix(&inside, "[") && absl::ConsumeSuffix(&inside, "]"), "an array has brackets");
  const std::vector<absl::string_view> parts = absl::StrSplit(inside, ',');
  Require(parts.size() == static_cast<size_t>(*count), "there are as many numbers as parts");
  for (size_t i = 0; i < parts.size() && i < numbers.size(); ++i) {
    const std::optional<float> alone = ParseJsonNumber(absl::StripAsciiWhitespace(parts[i]));
    Require(alone.has_value(), "a number of an array is one alone");
    if (std::isnan(*alone) && std::isnan(numbers[i])) continue;
    Require(SameBits({&*alone, 1}, {&numbers[i], 1}), "a number of an array is what it is alone");
  }
}

void CheckPrinted(absl::string_view bytes) {
  double value = 0;
  if (bytes.size() < sizeof(value)) return;
  std::memcpy(&value, bytes.data(), sizeof(value));
  if (!std::isfinite(value)) return;
  std::string js, python;
  AppendJsNumber(value, &js);
  AppendPythonNumber(value, &python);
  Require(std::strtod(js.c_str(), nullptr) == value, "a number as JavaScript prints it is read as what it was");
  Require(std::strtod(python.c_str(), nullptr) == value, "a number as Python prints it is read as what it was");
  Require(ParseJsonNumber(js).has_value() && ParseJsonNumber(python).has_value(), "what is printed is a JSON number");
}

}  // namespace
}  // namespace reembed::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace reembed::fuzz;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  CheckNumber(text);
  CheckArray(text);
  CheckPrinted(text);
  return 0;
}
