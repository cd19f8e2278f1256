// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SOURCE_H_
#define REEMBED_ENGINE_SOURCE_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/key.h"

namespace reembed {

// One row of the source. The views are valid until the source's next call.
struct RowView {
  KeyView key;
  std::optional<absl::string_view> text;  // bytes as stored, perhaps not UTF-8; nullopt: NULL or absent
  absl::string_view problem = {};         // why there is no text, if it is not just NULL; the row is rejected with it
};

// The selected rows of a store, in one stable order (of their keys, or of the file). Used by one thread.
// Opening a source checks everything that can be checked without reading all rows, and changes nothing.
class Source {
 public:
  virtual ~Source() = default;

  // The next row; nullopt after the last.
  // Errors: kUnavailable (locked, gone: try again), kDataLoss (the file is damaged; the message says where).
  virtual absl::StatusOr<std::optional<RowView>> Next() = 0;

  // Calls `see` for each remaining row, without copying its text; a RowView is valid during its call. `see` must be
  // quick and must not call this source, as the store may hold a read transaction meanwhile. If `see` returns false,
  // no more rows are shown, and Next() continues after that row. Errors: as Next(), after the rows before it were
  // shown.
  virtual absl::Status ShowRows(absl::FunctionRef<bool(const RowView&)> see);

  // Next() continues after the row with this key. If keys are ordered, that row may have been deleted.
  // Errors: kNotFound (the order is the file's, and the file has no such key).
  virtual absl::Status SeekAfter(KeyView key) = 0;

  // One row by key, whether or not it has a vector (Selection::rows is ignored); nullopt: it is gone. Cheap if the keys
  // come in source order. Afterwards the position of Next() is undefined until SeekAfter().
  virtual absl::StatusOr<std::optional<RowView>> Find(KeyView key) = 0;

  // How many rows Next() would return now, from the start.
  virtual absl::StatusOr<int64_t> CountRows() = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_SOURCE_H_
