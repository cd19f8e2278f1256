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
  kF32,  // blob of IEEE-754 binary32, little-endian, no header: what numpy's `float32.tobytes()` gives
};

// "f32"; empty means the default. Errors: kInvalidArgument.
absl::StatusOr<VectorEncoding> ParseVectorEncoding(absl::string_view name);

// The bytes of `vector` in the cell. The view lives as long as `vector` and *scratch stay as they are.
absl::string_view EncodeVector(VectorEncoding encoding, absl::Span<const float> vector, std::string* scratch);

// The reverse, into vector.size() floats. `cell` need not be aligned. Returns false when it holds another number of
// numbers.
[[nodiscard]] bool DecodeVector(VectorEncoding encoding, absl::string_view cell, absl::Span<float> vector);

// How many numbers `cell` holds; -1 when it is no vector of this encoding.
int64_t EncodedDim(VectorEncoding encoding, absl::string_view cell);

// An SQL condition, never NULL: `column` (quoted) holds a vector of `dim` numbers. It reads the size of a cell, not
// its bytes.
std::string HasVectorSql(VectorEncoding encoding, absl::string_view column, int dim);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_VECTOR_ENCODING_H_
