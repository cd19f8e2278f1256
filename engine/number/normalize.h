// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_NUMBER_NORMALIZE_H_
#define REEMBED_ENGINE_NUMBER_NORMALIZE_H_

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace reembed {

// What a vector is worth before anyone stores it.
enum class VectorFault {
  kNone,
  kNotFinite,
  kAllZero,
  kUnreadable,  // something else is in its place: null, an empty list, text that is not base64
  kOtherWidth,  // than the others have
};

// Looks at one vector [dim]; SIMD, chosen at run time. Denormals are ordinary numbers here.
VectorFault CheckVector(absl::Span<const float> vector);

// Scales each row of the row-major [rows, dim] matrix to unit L2 norm, in place, so that inner product equals cosine
// similarity. Norms are summed in double, so no finite row overflows or vanishes. Thread-safe for disjoint matrices.
// Errors: kDataLoss (a zero or non-finite row; the message gives its index; rows before it are scaled, it and those
// behind it are untouched).
absl::Status NormalizeRows(absl::Span<float> matrix, int dim);

}  // namespace reembed

#endif  // REEMBED_ENGINE_NUMBER_NORMALIZE_H_
