// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SELECTION_H_
#define REEMBED_ENGINE_SELECTION_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "engine/key.h"

namespace reembed {

// A half-open range of keys, in the store's own order: adjacent ranges have no row in common, and no gap. For files the
// ends are not keys but positions, as returned by StoreKind::cut: the start of a line, the number of a row.
struct KeyRange {
  std::optional<Key> from;    // the first key, or the next one if it is gone; nullopt: from the start
  std::optional<Key> before;  // the first key after the range; nullopt: to the end
  bool empty() const { return !from.has_value() && !before.has_value(); }
};

// Which rows of a source are selected, in addition to what its location says; for a survey: which rows are counted.
struct Selection {
  enum class Rows {
    kAll,
    kWithoutVector,  // rows without a vector of `dim` numbers; all, if there is no column for vectors yet
    kWithVector,     // rows with one
  };
  Rows rows = Rows::kAll;
  int dim = 0;        // width of a valid vector, unless `rows` is kAll
  std::string where;  // in addition to the location's, in the store's own language (SQL, Cypher, a filter); only tables
  std::string resume_from;  // the first key, or the next one if it is gone; empty: from the start; only tables
  KeyRange range;           // only rows in this range; only kinds that have StoreKind::cut, and tables
  bool strict = false;      // an invalid line ends the run; only for JSON lines
  // How long to wait for a lock, or for a server that went away, before kUnavailable; nullopt: the store's default.
  std::optional<absl::Duration> patience;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_SELECTION_H_
