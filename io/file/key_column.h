// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_FILE_KEY_COLUMN_H_
#define REEMBED_IO_FILE_KEY_COLUMN_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/key.h"

namespace reembed {

// The keys of the rows of a file, by row number. Used by one thread.
class KeyColumn {
 public:
  virtual ~KeyColumn() = default;

  // The key of row `row`, which must exist; valid until the next call. Cheap when asked in ascending order.
  // Errors: kDataLoss (it is no key; the message says where).
  virtual absl::StatusOr<KeyView> At(int64_t row) = 0;
};

// The first row in [from, rows), then in [0, from), with this key; nullopt: none. Without a column (null) a row's key
// is its number, from 0.
absl::StatusOr<std::optional<int64_t>> FindRow(KeyColumn* keys, int64_t rows, int64_t from, KeyView key);
// Likewise among the rows [begin, end). Precondition: begin <= from.
absl::StatusOr<std::optional<int64_t>> FindRow(KeyColumn* keys, int64_t begin, int64_t end, int64_t from, KeyView key);

// The key of `row`, see FindRow().
absl::StatusOr<KeyView> KeyOfRow(KeyColumn* keys, int64_t row);

}  // namespace reembed

#endif  // REEMBED_IO_FILE_KEY_COLUMN_H_
