// SPDX-License-Identifier: Apache-2.0
#include "engine/model_sample.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/canary.h"
#include "engine/number/normalize.h"

namespace reembed {
namespace {

// Whether every number is one of two that stand for a sign.
bool HoldsSigns(absl::Span<const float> vector, float negative) {
  return std::all_of(vector.begin(), vector.end(), [&](float number) { return number == 1 || number == negative; });
}

}  // namespace

bool CanBeSampled(absl::Span<const float> stored) {
  return !stored.empty() && CheckVector(stored) == VectorFault::kNone;
}

double SampleCosine(absl::Span<const float> stored, absl::Span<const float> made) {
  for (const float negative : {0.0f, -1.0f}) {
    if (!HoldsSigns(stored, negative) || !HoldsSigns(made, negative)) continue;
    int equal = 0;
    for (size_t i = 0; i < made.size(); ++i) equal += stored[i] == made[i] ? 1 : 0;
    return std::cos(std::numbers::pi * (1 - static_cast<double>(equal) / static_cast<double>(made.size())));
  }
  return CosineSimilarity(stored, made);
}

SampleVerdict JudgeSample(absl::Span<const double> cosines) {
  SampleVerdict verdict{.compared = static_cast<int>(cosines.size())};
  int others = 0;
  for (const double cosine : cosines) {
    if (cosine >= kSampleSame) {
      ++verdict.same;
      continue;
    }
    const bool first = others++ == 0;
    verdict.lowest = first ? cosine : std::min(verdict.lowest, cosine);
    verdict.highest = first ? cosine : std::max(verdict.highest, cosine);
  }
  if (verdict.compared < kLeastSampleRows) return verdict;
  if (verdict.same >= kSampleShare * verdict.compared) {
    verdict.kind = SampleVerdict::Kind::kSame;
  } else if (verdict.same == 0 && verdict.highest < kSampleAnother) {
    verdict.kind = SampleVerdict::Kind::kAnother;
  } else {
    verdict.kind = SampleVerdict::Kind::kUnclear;
  }
  return verdict;
}

}  // namespace reembed
