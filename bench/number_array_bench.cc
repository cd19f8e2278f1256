// SPDX-License-Identifier: Apache-2.0
// Arrays of numbers as embedding servers print them, read into floats.
// Contenders: memcpy of the text (the bound of anything that reads it); simdjson's get_double, which is how it is
// usually done; std::from_chars.

#include <benchmark/benchmark.h>
#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/number/number_array.h"

namespace reembed {
namespace {

constexpr int kRows = 256;
constexpr int kDim = 1536;

enum class Style {
  kFloat,     // shortest text of the float, ", " between
  kDouble,    // shortest text of the same value as a double, "," between
  kIndented,  // nine digits, each number on a line of its own
};

std::string Shortest(auto value) {
  char text[64];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

// The coordinates of unit vectors of this width: normal, with a standard deviation of 1 / sqrt(width).
std::vector<std::string> Arrays(Style style) {
  std::mt19937 random(7);
  std::normal_distribution<float> coordinate(0, 1 / std::sqrt(static_cast<float>(kDim)));
  std::vector<std::string> arrays(kRows, "[");
  for (std::string& array : arrays) {
    for (int i = 0; i < kDim; ++i) {
      const float value = coordinate(random);
      if (i > 0) array += style == Style::kFloat ? ", " : ",";
      if (style == Style::kFloat) array += Shortest(value);
      if (style == Style::kDouble) array += Shortest(static_cast<double>(value));
      if (style == Style::kIndented) absl::StrAppendFormat(&array, "\n        %.9g", value);
    }
    array += "]";
  }
  return arrays;
}

void Report(benchmark::State& state, const std::vector<std::string>& arrays) {
  size_t bytes = 0;
  for (const std::string& array : arrays) bytes += array.size();
  state.SetItemsProcessed(state.iterations() * kRows);
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

void BM_NumberArray(benchmark::State& state, Style style) {
  const std::vector<std::string> arrays = Arrays(style);
  std::vector<float> out(kDim);
  for (auto _ : state) {
    for (const std::string& array : arrays) {
      if (ParseNumberArray(array, absl::MakeSpan(out)) != kDim) std::abort();
    }
    benchmark::ClobberMemory();
  }
  Report(state, arrays);
}

void BM_GetDouble(benchmark::State& state, Style style) {
  const std::vector<std::string> arrays = Arrays(style);
  const std::vector<simdjson::padded_string> padded(arrays.begin(), arrays.end());
  std::vector<float> out(kDim);
  simdjson::ondemand::parser parser;
  for (auto _ : state) {
    for (const simdjson::padded_string& array : padded) {
      simdjson::ondemand::document document = parser.iterate(array);
      float* to = out.data();
      for (const double value : document.get_array()) *to++ = static_cast<float>(value);
      if (to != out.data() + kDim) std::abort();
    }
    benchmark::ClobberMemory();
  }
  Report(state, arrays);
}

void BM_FromChars(benchmark::State& state, Style style) {
  const std::vector<std::string> arrays = Arrays(style);
  std::vector<float> out(kDim);
  for (auto _ : state) {
    for (const std::string& array : arrays) {
      const char* at = array.data() + 1;
      const char* const end = array.data() + array.size();
      for (float& value : out) {
        while (*at == ' ' || *at == '\n') ++at;
        at = std::from_chars(at, end, value).ptr + 1;
      }
      if (at != end) std::abort();
    }
    benchmark::ClobberMemory();
  }
  Report(state, arrays);
}

void BM_Copy(benchmark::State& state, Style style) {
  const std::vector<std::string> arrays = Arrays(style);
  std::string copy(64 * kDim, '\0');
  for (auto _ : state) {
    for (const std::string& array : arrays) {
      std::memcpy(copy.data(), array.data(), array.size());
      benchmark::ClobberMemory();
    }
  }
  Report(state, arrays);
}

#define REEMBED_STYLES(function)                                                      \
  BENCHMARK_CAPTURE(function, float, Style::kFloat)->Unit(benchmark::kMicrosecond);   \
  BENCHMARK_CAPTURE(function, double, Style::kDouble)->Unit(benchmark::kMicrosecond); \
  BENCHMARK_CAPTURE(function, indented, Style::kIndented)->Unit(benchmark::kMicrosecond)

REEMBED_STYLES(BM_NumberArray);
REEMBED_STYLES(BM_GetDouble);
REEMBED_STYLES(BM_FromChars);
REEMBED_STYLES(BM_Copy);

}  // namespace
}  // namespace reembed
