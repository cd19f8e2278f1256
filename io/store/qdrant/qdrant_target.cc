// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_target.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/status_macros.h"
#include "engine/table_sink.h"

namespace reembed {
namespace {

// LookAtQdrantTarget() at one moment. kAborted: the collection was made during the look.
absl::Status LookOnce(QdrantTarget* target) {
  QdrantClient* const client = target->client.get();
  const QdrantLocation& asked = target->asked;
  const int dim = target->model.dim;
  ABSL_ASSIGN_OR_RETURN(target->collection, GetQdrantCollection(client, asked.collection));
  target->add_vector = false;
  target->side.reset();
  target->rows = asked.collection;
  const QdrantCollection::Vector* vector = nullptr;
  if (target->collection.has_value()) {
    vector = target->collection->Find(asked.vector);
    if (vector == nullptr) {
      absl::Status missing = FindQdrantVector(*target->collection, asked).status();
      const bool named = !target->collection->vectors.empty() && !target->collection->vectors[0].name.empty();
      if (asked.vector.empty() || !named) return missing;
      target->add_vector = true;
      return absl::OkStatus();
    }
  }
  if (asked.side) {
    ABSL_ASSIGN_OR_RETURN(target->side, FindQdrantSide(client, asked, target->collection, dim));
    if (target->side.has_value()) target->rows = target->side->side;
  } else if (vector != nullptr && vector->dim != dim) {
    return OtherWidthError(asked.Name(), vector->dim, dim, "build a collection beside it and switch: &on_width=side");
  }
  if (target->collection.has_value() || target->side.has_value()) return absl::OkStatus();
  absl::Status missing = NoQdrantCollection(client, asked);
  if (!absl::IsNotFound(missing)) return missing;
  if (asked.create == QdrantLocation::Create::kYes) return absl::OkStatus();
  const bool near = missing.message().find("did you mean") != absl::string_view::npos;
  if (asked.create == QdrantLocation::Create::kDefault && !near) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(missing.message(), " To make a new one say &create=yes"));
}

}  // namespace

absl::StatusOr<QdrantTarget> OpenQdrantTarget(const Location& location, const Model& model,
                                              const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(QdrantLocation asked, ParseQdrantLocation(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<QdrantClient> client, QdrantClient::Make(asked.url, options));
  QdrantTarget target{.asked = std::move(asked), .client = std::move(client), .model = model};
  ABSL_RETURN_IF_ERROR(LookAtQdrantTarget(&target));
  return target;
}

absl::Status LookAtQdrantTarget(QdrantTarget* target) {
  absl::Status looked = LookOnce(target);
  // Of shares that begin together, one makes the collection while another one looks.
  if (absl::IsAborted(looked)) looked = LookOnce(target);
  return looked;
}

absl::Status CheckMayWriteQdrant(QdrantClient* client, const QdrantLocation& asked) {
  // Whatever else the server answers says nothing about the right to write.
  absl::Status asked_for = client->Call({"POST", asked.Path("/points/delete?wait=false"), R"({"points":[]})"}).status();
  if (absl::IsPermissionDenied(asked_for) || absl::IsUnauthenticated(asked_for)) return asked_for;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> QdrantChanges(const Location& location, const Model& model,
                                                       const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const QdrantTarget target, OpenQdrantTarget(location, model, options));
  std::vector<std::string> changes;
  const QdrantLocation& asked = target.asked;
  if (asked.snapshot && target.collection.has_value()) {
    changes.push_back(absl::StrCat("has the server make a snapshot of ", asked.Name(), " first; GET ", asked.url,
                                   asked.Path("/snapshots"), " lists it"));
  }
  if (target.side.has_value()) {
    const QdrantSide& side = *target.side;
    changes.push_back(absl::StrCat("builds the collection ", side.side, " beside ", side.real));
    if (!side.alias.empty()) {
      changes.push_back(absl::StrCat("moves the alias ", side.alias, " to it when it is complete"));
    } else {
      changes.push_back(absl::StrCat("copies ", side.real, " to ", side.before, ", makes it again with ", model.dim,
                                     " numbers, and fills it, when that is complete"));
    }
    if (!asked.keep_old) changes.push_back("removes the old collection at the end: no rollback can restore it");
  } else if (!target.collection.has_value()) {
    changes.push_back(
        absl::StrCat("makes the collection ", asked.Name(), " (", model.dim, " numbers, ", asked.distance, ")"));
  } else if (target.add_vector) {
    changes.push_back(absl::StrCat("adds the vector ", asked.vector, " to ", asked.Name()));
  }
  return changes;
}

absl::StatusOr<Overwriting> QdrantOverwriting(const Location& location, const Model& model,
                                              const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const QdrantTarget target, OpenQdrantTarget(location, model, options));
  if (target.side.has_value()) {
    return Overwriting{.kind = Overwriting::Kind::kSwitch, .keeps_old = target.asked.keep_old};
  }
  const bool has_vector = target.collection.has_value() && !target.add_vector;
  return Overwriting{.kind = has_vector ? Overwriting::Kind::kRows : Overwriting::Kind::kNothing};
}

bool IsSameQdrantCollection(const Location& a, const Location& b) {
  const absl::StatusOr<QdrantLocation> one = ParseQdrantLocation(a);
  const absl::StatusOr<QdrantLocation> other = ParseQdrantLocation(b);
  return a.scheme == b.scheme && one.ok() && other.ok() && one->url == other->url &&
         one->collection == other->collection;
}

absl::Status CheckQdrantKey(const Location& target, KeyView key) {
  ABSL_ASSIGN_OR_RETURN(const QdrantLocation asked, ParseQdrantLocation(target));
  if (asked.IdOf(key).has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(asked.Name(), ": the key ", KeyText(key),
                   " cannot be a point's id, which is an unsigned integer or a UUID; say &ids=uuid5 to make UUIDs of "
                   "the keys and keep them in the payload"));
}

}  // namespace reembed
