// SPDX-License-Identifier: Apache-2.0
#include "io/store/vector_column_name.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace reembed {
namespace {

constexpr std::array<absl::string_view, 5> kVectors = {"embedding", "embeddings", "vector", "vectors", "emb"};
constexpr std::array<absl::string_view, 8> kForms = {"json", "blob", "bytes", "data", "text", "f32", "float32", "old"};

template <typename Words>
bool Has(const Words& words, absl::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool IsNumber(absl::string_view word) {
  return std::all_of(word.begin(), word.end(), [](unsigned char c) { return absl::ascii_isdigit(c); });
}

}  // namespace

bool IsCalledVector(absl::string_view column) {
  const std::string lower = absl::AsciiStrToLower(column);
  std::vector<absl::string_view> words = absl::StrSplit(lower, '_', absl::SkipEmpty());
  while (!words.empty() && (Has(kForms, words.back()) || IsNumber(words.back()))) words.pop_back();
  return !words.empty() && Has(kVectors, words.back());
}

}  // namespace reembed
