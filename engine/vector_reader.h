// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_VECTOR_READER_H_
#define REEMBED_ENGINE_VECTOR_READER_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/key.h"

namespace reembed {

// One vector as stored in a target. The views are valid until the reader's next call.
struct StoredVector {
  KeyView key;
  absl::Span<const float> vector;  // [dim]
};

// Reads the vectors of a target, to compare or search them. Used by one thread. Opening changes nothing.
class VectorReader {
 public:
  virtual ~VectorReader() = default;

  virtual int dim() const = 0;

  // How many vectors it has.
  virtual int64_t rows() const = 0;

  // The next vector, in the target's own order; nullopt after the last. Rows without a vector are skipped.
  // Errors: kDataLoss (a vector of another width, a damaged file; the message names the row).
  virtual absl::StatusOr<std::optional<StoredVector>> Next() = 0;

  // One vector by key; nullopt: no such row, or it has no vector. Cheap if the keys come in the target's order.
  // Afterwards Next() continues after that row.
  virtual absl::StatusOr<std::optional<StoredVector>> Find(KeyView key) = 0;

  // Rounds a vector, [dim], as storing it and reading it back would, for targets that store fewer bits.
  virtual void Round(absl::Span<float>) const {}
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_VECTOR_READER_H_
