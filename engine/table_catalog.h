// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_TABLE_CATALOG_H_
#define REEMBED_ENGINE_TABLE_CATALOG_H_

#include <cstdint>
#include <map>
#include <string>

// What a database says of its tables before a job begins.
namespace reembed {

// A column that holds vectors, or is called so.
struct VectorColumnName {
  std::string table, column;
};

// What the catalog says of the table of a location.
struct TableFacts {
  bool exists = false;
  std::map<std::string, std::string> types;  // column -> its type as SQL writes it, e.g. `vector(3072)`
  // Of the location's `vector`: how many numbers its type demands; where it demands none, how many most of the stored
  // vectors have; 0: nothing says it.
  int dim = 0;
  bool dim_is_fixed = false;  // the type demands it
  // That column was made by an earlier job, under this name, beside the one it replaces; empty: it was not.
  std::string made_as;
};

// Of a place that shows its user some rows only, so that what is counted is no share of the whole.
struct HiddenRows {
  bool may_be = false;
  int64_t known = -1;  // then: all rows of the place, as its statistics know them; -1: they do not
};

}  // namespace reembed

#endif  // REEMBED_ENGINE_TABLE_CATALOG_H_
