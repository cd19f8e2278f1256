// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_SELECTION_H_
#define REEMBED_ENGINE_SELECTION_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "engine/key.h"

namespace reembed {

// A half-open range of keys, in the store's own order of keys: adjacent ranges have no row in common and miss none. The
// ends in files are no keys, but places, as StoreKind::cut gives them: where a line begins, the number of a row.
struct KeyRange {
  std::optional<Key> from;    // the first key, or the first one behind it; nullopt: from the start
  std::optional<Key> before;  // the first key that is not meant any more; nullopt: to the end
  bool empty() const { return !from.has_value() && !before.has_value(); }
};

// Which rows of a source are meant, beyond what its location says; of a survey, which rows are counted.
struct Selection {
  enum class Rows {
    kAll,
    kWithoutVector,  // that have no vector of `dim` numbers; all, where there is nothing yet that could hold one
    kWithVector,     // the others
  };
  Rows rows = Rows::kAll;
  int dim = 0;              // width of a valid vector, for all but kAll
  std::string where;        // beside the location's, in the store's own language (SQL, Cypher, a filter); only tables
  std::string resume_from;  // the first key, or the first one behind it; empty: from the start; only tables
  KeyRange range;           // and only rows in it; only kinds that have StoreKind::cut, and tables
  bool strict = false;      // a broken line ends the run; only JSON lines have it
  // How long to wait for a lock, or for a server that went away, before kUnavailable; nullopt: as its store does.
  std::optional<absl::Duration> patience;
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_SELECTION_H_
