// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_VECTOR_ENCODING_H_
#define REEMBED_IO_STORE_VECTOR_ENCODING_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// How a vector lies in one database cell. Another form is added here and nowhere else.
namespace reembed {

enum class VectorEncoding {
  kF32,         // "f32": blob of IEEE-754 binary32, little-endian, no header, as numpy's `float32.tobytes()`; also what
                // sqlite-vec and libSQL take for a vector
  kJsonJs,      // "json": text as JavaScript's JSON.stringify of the numbers: [0.25,1e-7]
  kJsonPython,  // "json-python": text as Python's json.dumps: [0.25, 1e-07]
};

// By its name; empty means the default, f32. f32_blob, libSQL's name of it, and json-js are other names. Errors:
// kInvalidArgument.
absl::StatusOr<VectorEncoding> ParseVectorEncoding(absl::string_view name);

// Whether cells are texts, not blobs.
bool IsText(VectorEncoding encoding);

// The bytes of `vector` in the cell. The view lives as long as `vector` and *scratch stay as they are.
absl::string_view EncodeVector(VectorEncoding encoding, absl::Span<const float> vector, std::string* scratch);

// The reverse, into vector.size() floats. `cell` need not be aligned. Both forms of JSON are read, with any whitespace.
// Returns false when it holds another number of numbers, or anything that is no finite float.
[[nodiscard]] bool DecodeVector(VectorEncoding encoding, absl::string_view cell, absl::Span<float> vector);

// How many numbers `cell` holds; -1 when it is no vector of this encoding. 0: it says that there is none.
int64_t EncodedDim(VectorEncoding encoding, absl::string_view cell);

// An SQL expression on the column (quoted): how many numbers its cell holds; NULL when the cell says that there is no
// vector (NULL; of JSON also '', [] and null); -1 when it holds anything else. Never an error, also where the text is
// no JSON. Of blobs it reads the size, not the bytes.
std::string EncodedDimSql(VectorEncoding encoding, absl::string_view column);

// An SQL condition, never NULL: `column` (quoted) holds a vector of `dim` numbers.
std::string HasVectorSql(VectorEncoding encoding, absl::string_view column, int dim);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_VECTOR_ENCODING_H_
