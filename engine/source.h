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

// One row as the source shows it. The views die at the source's next call.
struct RowView {
  KeyView key;
  std::optional<absl::string_view> text;  // bytes as stored, perhaps not UTF-8; nullopt: NULL or absent
  absl::string_view problem = {};  // why there is no text, where it is not simply NULL; the row is rejected for it
};

// The selected rows of a store, in one stable order (of their keys, or of the file). Used by one thread.
// Opening a source checks everything that can be checked without reading all rows, and changes nothing.
class Source {
 public:
  virtual ~Source() = default;

  // The next row; nullopt after the last.
  // Errors: kUnavailable (locked, gone: try again), kDataLoss (the file is damaged; the message says where).
  virtual absl::StatusOr<std::optional<RowView>> Next() = 0;

  // Shows the rows that are left where they lie, so that a text which only has to be looked at is copied nowhere; each
  // dies with its call. `see` must be quick and not call this source, as the store may hold a read transaction
  // meanwhile; false: it has seen enough, and Next() continues behind that row. Errors: as Next(), behind the rows
  // before it.
  virtual absl::Status ShowRows(absl::FunctionRef<bool(const RowView&)> see);

  // Next() continues behind the row with this key. If keys are ordered that row need not exist any more.
  // Errors: kNotFound (the order is the file's, and the file has no such key).
  virtual absl::Status SeekAfter(KeyView key) = 0;

  // One row by key, whether or not it has a vector (Selection::rows is ignored); nullopt: it is gone. Cheap when keys
  // are asked for in source order. Afterwards the position of Next() is undefined until SeekAfter().
  virtual absl::StatusOr<std::optional<RowView>> Find(KeyView key) = 0;

  // How many rows Next() would give from the start, now.
  virtual absl::StatusOr<int64_t> CountRows() = 0;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_SOURCE_H_
