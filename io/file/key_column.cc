// SPDX-License-Identifier: Apache-2.0
#include "io/file/key_column.h"

#include "engine/status_macros.h"

namespace reembed {

absl::StatusOr<KeyView> KeyOfRow(KeyColumn* keys, int64_t row) {
  if (keys == nullptr) return KeyView(row);
  return keys->At(row);
}

absl::StatusOr<std::optional<int64_t>> FindRow(KeyColumn* keys, int64_t rows, int64_t from, KeyView key) {
  return FindRow(keys, 0, rows, from, key);
}

absl::StatusOr<std::optional<int64_t>> FindRow(KeyColumn* keys, int64_t begin, int64_t end, int64_t from, KeyView key) {
  if (keys == nullptr) {
    const auto* const row = std::get_if<int64_t>(&key);
    if (row == nullptr || *row < begin || *row >= end) return std::nullopt;
    return *row;
  }
  for (int64_t looked_at = 0; looked_at < end - begin; ++looked_at) {
    const int64_t row = from + looked_at < end ? from + looked_at : from + looked_at - end + begin;
    ABSL_ASSIGN_OR_RETURN(const KeyView found, keys->At(row));
    if (found == key) return row;
  }
  return std::nullopt;
}

}  // namespace reembed
