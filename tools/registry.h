// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TOOLS_REGISTRY_H_
#define REEMBED_TOOLS_REGISTRY_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/store_kind.h"

// The kinds of places that this program knows. To add one, fill a StoreKind in its own room and add a line to the table
// in registry.cc.
namespace reembed {

absl::Span<const StoreKind* const> StoreKinds();

// By scheme. Null: this version has no such kind.
const StoreKind* FindKind(absl::string_view scheme);

// The kind of a place; of one that this version does not know, a kind without a name that can be nothing.
const StoreKind& KindOf(const Location& location);

// A place with its kind: read from its URI and looked up once, then handed on. Copied freely.
struct Store {
  const StoreKind* kind = nullptr;  // never null in a Store that StoreOf() made
  Location location;

  // Whether this version knows its kind; one that it does not can be nothing.
  bool is_known() const { return *kind->name != '\0'; }
};
Store StoreOf(Location location);

// The kind that a place must be of to be saved and put back. Null: it is of none.
const StoreKind* FindBackupKind(absl::string_view scheme);

// The names of those kinds, for messages.
std::string BackupKindNames();

// The names of all kinds for which `is_meant` holds, as a person lists them: "sqlite, libsql, postgres".
template <typename Predicate>
std::vector<std::string> NamesOfKinds(Predicate is_meant) {
  std::vector<std::string> names;
  for (const StoreKind* const kind : StoreKinds()) {
    if (is_meant(*kind)) names.push_back(kind->name);
  }
  return names;
}

// The examples of all places that can be used so, as &StoreKind::make_sink.
template <typename Role>
std::vector<std::string> PlacesThatCanBe(Role StoreKind::*role) {
  std::vector<std::string> examples;
  for (const StoreKind* const kind : StoreKinds()) {
    if (kind->*role != nullptr) examples.push_back(kind->example);
  }
  return examples;
}

// Errors: kInvalidArgument (unknown scheme, or it cannot be used as source, target or for reading; says which can).
absl::StatusOr<std::unique_ptr<Source>> OpenSource(const Store& store, const Selection& selection);
absl::StatusOr<std::unique_ptr<VectorSink>> MakeSink(const Store& target, const Model& model, const Store& source);
absl::StatusOr<std::unique_ptr<VectorReader>> OpenReader(const Store& store, int dim);

}  // namespace reembed

#endif  // REEMBED_TOOLS_REGISTRY_H_
