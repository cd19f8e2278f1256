// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_VECTOR_PLACE_H_
#define REEMBED_ENGINE_VECTOR_PLACE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "engine/location.h"

namespace reembed {

// Where vectors are, however its URI is worded: a column of a table, the vectors of a collection, a file.
struct VectorPlace {
  std::string store;   // scheme and file or server, in one form: "sqlite:/home/a/notes.db", "postgres:host:5432/db"
  std::string table;   // table, label or collection; empty: the store is a file of vectors
  std::string column;  // empty: the only one
  friend bool operator==(const VectorPlace&, const VectorPlace&) = default;
};

// The store of a place that is a file: the same file has one name, whether it is there yet or not, and through links.
std::string FileStoreName(const Location& place);

// The store `scheme` at an address: HOST:PORT/REST of `path`, without what does not say where (how it is spoken to, who
// asks). `host`, `port`: where it names none.
std::string ServerStoreName(absl::string_view scheme, absl::string_view path, absl::string_view host,
                            absl::string_view port);

}  // namespace reembed

#endif  // REEMBED_ENGINE_VECTOR_PLACE_H_
