// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_OUTPUT_FORM_H_
#define REEMBED_ENGINE_OUTPUT_FORM_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/location.h"

// Vectors that take less room in a target than the job's own: fewer bits a number, or fewer numbers.
namespace reembed {

// How a number lies in a file.
enum class OutputType {
  kFloat32,
  kFloat16,   // binary16, to nearest
  kBfloat16,  // the upper half of a float32, to nearest
  kInt8,      // the number times OutputForm::scale, to nearest, ties to even
  kBinary,    // one bit: whether it is above 0; eight to a byte, the first in the highest bit
};

absl::string_view OutputTypeName(OutputType type);  // "float32", "float16", "bfloat16", "int8", "binary"

struct OutputForm {
  OutputType type = OutputType::kFloat32;
  double scale = 127;  // of kInt8: what 1 becomes
};

// What `type=` and `scale=` of the address of a file say, where it says it. Errors: kInvalidArgument (another type than
// there are; a scale that is none, or without type=int8).
absl::StatusOr<OutputForm> OutputFormOf(const Location& place);

// How many numbers of a vector of `dim` numbers a target takes: what `dim=` of its address says, else all. 0 stays 0
// where the address says nothing. Errors: kInvalidArgument (none, or more than there are).
absl::StatusOr<int> OutputDim(const Location& place, int dim);

// Bytes of a row of `dim` numbers.
int64_t OutputRowBytes(OutputType type, int64_t dim);

// Why rows of `dim` numbers cannot be of this type; OK: they can. Errors: kInvalidArgument.
absl::Status CheckOutputWidth(OutputType type, int dim);

// Appends the row as it lies in a file, little-endian. Errors, and then *out is as before: kInvalidArgument (a number
// that the form cannot hold, or that is none: says which, and what to do).
absl::Status AppendOutput(const OutputForm& form, absl::Span<const float> vector, std::string* out);

// The reverse, of OutputRowBytes() bytes; of kBinary: 1 and 0.
void DecodeOutput(const OutputForm& form, const char* bytes, absl::Span<float> vector);

// Makes of `vector` what it is after it was stored and read back.
void RoundLikeOutput(const OutputForm& form, absl::Span<float> vector);

// The first `to.size()` numbers of `from`, scaled to length 1: what a Matryoshka model means by a shorter vector.
// The same numbers where there are not fewer. Errors: kInvalidArgument (they are all zero).
absl::Status NarrowVector(absl::Span<const float> from, absl::Span<float> to);

}  // namespace reembed

#endif  // REEMBED_ENGINE_OUTPUT_FORM_H_
