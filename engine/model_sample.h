// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_MODEL_SAMPLE_H_
#define REEMBED_ENGINE_MODEL_SAMPLE_H_

#include "absl/types/span.h"

// Whether the vectors that a place has were made by the model that is about to add others, where nobody has recorded
// it: the texts of a few of them are embedded once more, and both vectors are compared. What a comparison means is
// here; pure logic.
namespace reembed {

inline constexpr int kSampleRows = 8;            // that are compared, if there are so many
inline constexpr int kLeastSampleRows = 3;       // fewer say nothing
inline constexpr double kSampleSame = 0.98;      // cosine: the same model and text, after any store's rounding
inline constexpr double kSampleAnother = 0.6;    // below: another model. Between: the same, and something is different
inline constexpr double kSampleShare = 3.0 / 4;  // of the rows that are to be the same: texts are edited now and then

// Whether a stored vector can say anything: it is not empty, its numbers are finite and not all zero.
bool CanBeSampled(absl::Span<const float> stored);

// How alike two vectors of the same length are; 1: the same. It is their cosine. Where both know nothing but signs (0
// and 1, or -1 and 1), it is that of the angle at which so large a share of the signs is equal.
double SampleCosine(absl::Span<const float> stored, absl::Span<const float> made);

struct SampleVerdict {
  enum class Kind {
    kSame,     // three quarters or more are the same
    kAnother,  // all are of another model
    kUnclear,  // neither
    kTooFew,   // not enough was compared
  };
  Kind kind = Kind::kTooFew;
  int compared = 0;
  int same = 0;       // of those
  double lowest = 0;  // of those that are not the same; both 0 if all are
  double highest = 0;
};

// `cosines`: of each row that was compared.
SampleVerdict JudgeSample(absl::Span<const double> cosines);

}  // namespace reembed

#endif  // REEMBED_ENGINE_MODEL_SAMPLE_H_
