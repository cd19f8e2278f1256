// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_OLD_VECTOR_H_
#define REEMBED_TESTS_FAKES_OLD_VECTOR_H_

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/text/lexical_embedder.h"

namespace reembed {

// What an earlier version of the built-in embedder left for a text: of the same model (cosine 0.995), as a run wants to
// see it before it adds its own, and yet not what a run would write, so that a test sees when it is overwritten.
// Numbers of three digits, as few as any writer of JSON prints.
inline std::vector<float> OldVector(absl::string_view text, int dim) {
  std::vector<float> vector(static_cast<size_t>(dim));
  EmbedLexically(text, absl::MakeSpan(vector));
  vector[0] += 0.1f;
  for (float& number : vector) number = std::round(number * 1000) / 1000 + 0.0f;
  return vector;
}

// The same as a JSON array without its brackets.
inline std::string OldVectorNumbers(absl::string_view text, int dim) {
  std::string numbers;
  for (const float x : OldVector(text, dim)) absl::StrAppend(&numbers, numbers.empty() ? "" : ",", x);
  return numbers;
}

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_OLD_VECTOR_H_
