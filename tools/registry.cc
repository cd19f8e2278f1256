// SPDX-License-Identifier: Apache-2.0
#include "tools/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/finite_reader.h"
#include "engine/narrow_sink.h"
#include "engine/output_form.h"
#include "engine/place_name.h"
#include "engine/status_macros.h"
#include "engine/vector_place.h"
#include "index/faiss_kind.h"
#include "io/file/file_kinds.h"
#include "io/store/falkordb/falkordb_kind.h"
#include "io/store/postgres/postgres_kind.h"
#include "io/store/qdrant/qdrant_kind.h"
#include "io/store/sqlite/sqlite_kind.h"
#include "io/system/automem_kind.h"
#include "io/system/memu_kind.h"
#include "tools/lfs_pointer.h"

namespace reembed {
namespace {

// In the order in which people are told of them.
constexpr const StoreKind* kKinds[] = {
    &kSqliteKind,    //
    &kLibsqlKind,    //
    &kPostgresKind,  //
    &kQdrantKind,    //
    &kFalkorKind,    //
    &kJsonlKind,     //
    &kHdf5Kind,      //
    &kNpyKind,       //
    &kFbinKind,      //
    &kFvecsKind,     //
    &kFaissKind,     //
    &kMemuKind,      //
    &kAutomemKind,   //
    &kStreamKind,    //
    &kNpyStreamKind,
};

constexpr StoreKind kUnknownKind = {};

// That a place cannot be used as asked, and which can.
template <typename Role>
absl::Status CannotBe(const Location& location, Role StoreKind::*role, absl::string_view what) {
  std::vector<std::string> able;
  for (const StoreKind* const kind : kKinds) {
    // What is another kind's stream has the other's name.
    const bool is_of_another = kind->is_stream && kind->open_source == nullptr;
    if (kind->*role == nullptr || is_of_another) continue;
    able.push_back(kind->name);
    able.insert(able.end(), kind->other_names.begin(), kind->other_names.end());
  }
  // A kind that is known, but not for this, has no near one.
  const std::string near = FindKind(location.scheme) == nullptr ? NearestName(location.scheme, able) : "";
  return absl::InvalidArgumentError(absl::StrCat(
      location.ToString(), ": `", location.scheme, "` is no ", what,
      near.empty() ? absl::StrCat("; these are: ", absl::StrJoin(able, ", "), "; `reembed run --help` shows them whole")
                   : absl::StrCat("; did you mean `", near, "`?")));
}

bool IsSameTable(const Store& source, const Store& target) {
  if (source.kind != target.kind || target.kind->vector_place == nullptr) return false;
  const VectorPlace rows = source.kind->vector_place(source.location);
  const VectorPlace vectors = target.kind->vector_place(target.location);
  return !rows.table.empty() && rows.store == vectors.store && rows.table == vectors.table;
}

}  // namespace

absl::Span<const StoreKind* const> StoreKinds() { return kKinds; }

const StoreKind* FindKind(absl::string_view scheme) {
  const auto found =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const StoreKind* kind) { return kind->has_name(scheme); });
  return found == std::end(kKinds) ? nullptr : *found;
}

const StoreKind& KindOf(const Location& location) {
  const StoreKind* const kind = FindKind(location.scheme);
  return kind == nullptr ? kUnknownKind : *kind;
}

Store StoreOf(Location location) {
  const StoreKind& kind = KindOf(location);
  return {&kind, std::move(location)};
}

const StoreKind* FindBackupKind(absl::string_view scheme) {
  const StoreKind* const kind = FindKind(scheme);
  return kind == nullptr || kind->backup.back_up == nullptr ? nullptr : kind;
}

std::string BackupKindNames() {
  return absl::StrJoin(NamesOfKinds([](const StoreKind& kind) { return kind.backup.back_up != nullptr; }), ", ");
}

absl::StatusOr<std::unique_ptr<Source>> OpenSource(const Store& store, const Selection& selection) {
  const auto open = store.kind->open_source;
  if (open == nullptr) return CannotBe(store.location, &StoreKind::open_source, "source");
  if (store.kind->is_file) ABSL_RETURN_IF_ERROR(CheckNoLfsPointer(store.location.path));
  return open(store.location, selection);
}

absl::StatusOr<std::unique_ptr<VectorSink>> MakeSink(const Store& target, const Model& model, const Store& source) {
  const auto make = target.kind->make_sink;
  if (make == nullptr) return CannotBe(target.location, &StoreKind::make_sink, "target");
  const StoreKind& rows = *source.kind;
  const bool is_own = rows.holds_vectors != nullptr && rows.holds_vectors(source.location, target.location);
  Location place = target.location;
  // A row of the source's own table that is not there any more was deleted since it was read: adding it would bring it
  // back.
  if (place.Get("mode") == "upsert" && IsSameTable(source, target)) {
    place.parameters["mode"] = "update";
    std::erase_if(place.parameters, [](const auto& named) { return absl::StartsWith(named.first, "set."); });
  }
  Model held = model;
  ABSL_ASSIGN_OR_RETURN(held.dim, OutputDim(target.location, model.dim));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorSink> sink,
                        (is_own ? rows.make_own_sink : make)(place, held, source.location));
  if (held.dim == model.dim) return sink;
  return MakeNarrowSink(std::move(sink), PlaceName(target.location), model.dim, held.dim);
}

absl::StatusOr<std::unique_ptr<VectorReader>> OpenReader(const Store& store, int dim) {
  const auto open = store.kind->open_reader;
  if (open == nullptr) return CannotBe(store.location, &StoreKind::open_reader, "target that can be read back");
  if (store.kind->is_file) ABSL_RETURN_IF_ERROR(CheckNoLfsPointer(store.location.path));
  ABSL_ASSIGN_OR_RETURN(const int held, OutputDim(store.location, dim));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<VectorReader> reader, open(store.location, held));
  return MakeFiniteReader(std::move(reader), PlaceName(store.location));
}

}  // namespace reembed
