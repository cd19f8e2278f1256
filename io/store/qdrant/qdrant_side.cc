// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_side.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "io/store/qdrant/qdrant_points.h"
#include "io/store/qdrant/qdrant_writer.h"

namespace reembed {
namespace {

constexpr int64_t kPageBytes = int64_t{4} << 20;  // of vectors in one page of a copy
constexpr int64_t kBytesPerNumber = 12;           // in JSON
constexpr absl::string_view kSideInfix = "__reembed_";
constexpr absl::string_view kBeforeInfix = "__before_";

absl::Status Put(QdrantClient* client, absl::string_view method, const std::string& path, std::string body) {
  return client->Call({std::string(method), path, std::move(body)}).status();
}

std::string PathOf(const std::string& collection) { return absl::StrCat("/collections/", QdrantPathPart(collection)); }

// A collection like `like`, empty, without a graph, where `vector` has `dim` numbers (0: as before).
absl::Status MakeLike(QdrantClient* client, const std::string& name, const QdrantCollection& like,
                      absl::string_view vector, int dim) {
  std::string vectors;
  for (const QdrantCollection::Vector& each : like.vectors) {
    const int width = each.name == vector && dim > 0 ? dim : each.dim;
    const std::string config = QdrantJsonWith(each.json, "size", absl::StrCat(width));
    if (each.name.empty()) {
      vectors = config;
    } else {
      absl::StrAppend(&vectors, vectors.empty() ? "{" : ",", JsonQuoted(each.name), ":", config);
    }
  }
  if (!like.vectors[0].name.empty()) vectors.push_back('}');
  std::string body = absl::StrCat(R"({"vectors":)", vectors, R"(,"hnsw_config":)", QdrantJsonWith(like.hnsw, "m", "0"));
  for (const auto& [setting, json] : like.settings) absl::StrAppend(&body, ",\"", setting, "\":", json);
  absl::Status made = Put(client, "PUT", PathOf(name), body + "}");
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  // Before the load, so that the graph gets its links for filters.
  for (const auto& [field, schema] : like.indexes) {
    ABSL_RETURN_IF_ERROR(Put(client, "PUT", PathOf(name) + "/index?wait=true",
                             absl::StrCat(R"({"field_name":)", JsonQuoted(field), R"(,"field_schema":)", schema, "}")));
  }
  return absl::OkStatus();
}

// What a copy may find where it goes to.
enum class CopyOnto {
  kNothing,  // or a part of the same copy
  kOlder,    // points that are there are replaced, others stay
  kNewer     // points that are there stay
};

// Which points `to` has not.
absl::StatusOr<std::vector<const QdrantPoint*>> FindMissing(QdrantClient* client, const QdrantPage& page,
                                                            const std::string& to) {
  std::vector<const QdrantPoint*> missing;
  if (page.points.empty()) return missing;
  std::string body = R"({"ids":[)";
  for (const QdrantPoint& point : page.points) absl::StrAppend(&body, point.id.Json(), ",");
  body.back() = ']';
  QdrantClient::Answer answer =
      client->Call({"POST", PathOf(to) + "/points", body + R"(,"with_payload":false,"with_vector":false})"});
  ABSL_RETURN_IF_ERROR(answer.status());
  const absl::StatusOr<QdrantPage> there = ReadQdrantPage(&*answer);
  if (!there.ok())
    return absl::Status(there.status().code(), absl::StrCat(client->url(), ": ", there.status().message()));
  absl::flat_hash_set<std::string> ids;
  for (const QdrantPoint& point : there->points) ids.insert(point.id.Json());
  for (const QdrantPoint& point : page.points) {
    if (!ids.contains(point.id.Json())) missing.push_back(&point);
  }
  return missing;
}

void AppendWholePoint(const QdrantPoint& point, std::string* json) {
  absl::StrAppend(json, R"({"id":)", point.id.Json(), R"(,"vector":)", point.vector.empty() ? "{}" : point.vector);
  if (!point.payload.empty()) absl::StrAppend(json, R"(,"payload":)", point.payload);
  json->push_back('}');
}

// All points with everything they have.
absl::Status Copy(QdrantClient* client, const std::string& from, const std::string& to, const QdrantCollection& like,
                  CopyOnto onto) {
  int64_t numbers = 1;
  for (const QdrantCollection::Vector& vector : like.vectors) numbers += vector.dim;
  const int64_t limit = std::clamp<int64_t>(kPageBytes / (numbers * kBytesPerNumber), 16, 1024);
  absl::Status failure;
  QdrantWriter writer(client, PathOf(to) + "/points",
                      [&](absl::Span<const size_t>, const absl::Status& status) { failure.Update(status); });
  std::string offset;
  while (failure.ok()) {
    QdrantClient::Answer answer =
        client->Call({"POST", PathOf(from) + "/points/scroll",
                      absl::StrCat(R"({"limit":)", limit, offset.empty() ? "" : absl::StrCat(R"(,"offset":)", offset),
                                   R"(,"with_payload":true,"with_vector":true})")});
    ABSL_RETURN_IF_ERROR(answer.status());
    const absl::StatusOr<QdrantPage> page = ReadQdrantPage(&*answer);
    if (!page.ok())
      return absl::Status(page.status().code(), absl::StrCat(client->url(), ": ", page.status().message()));
    if (onto == CopyOnto::kNewer) {
      ABSL_ASSIGN_OR_RETURN(const std::vector<const QdrantPoint*> missing, FindMissing(client, *page, to));
      for (const QdrantPoint* const point : missing) AppendWholePoint(*point, writer.Add(0));
    } else {
      for (const QdrantPoint& point : page->points) AppendWholePoint(point, writer.Add(0));
    }
    if (!page->next.has_value()) break;
    offset = page->next->Json();
  }
  writer.Finish();
  ABSL_RETURN_IF_ERROR(failure);
  const absl::StatusOr<int64_t> wanted = CountQdrantPoints(client, from, "");
  const absl::StatusOr<int64_t> copied = CountQdrantPoints(client, to, "");
  ABSL_RETURN_IF_ERROR(wanted.status());
  ABSL_RETURN_IF_ERROR(copied.status());
  if (onto == CopyOnto::kNothing ? *copied == *wanted : *copied >= *wanted) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(client->url(), ": ", from, " has ", *wanted, " points, and its copy ", to, " ",
                                         *copied, "; is something writing to them? stop it, then run this again"));
}

// In one step.
absl::Status MoveAlias(QdrantClient* client, const std::string& alias, const std::string& to) {
  return Put(client, "POST", "/collections/aliases",
             absl::StrCat(R"({"actions":[{"delete_alias":{"alias_name":)", JsonQuoted(alias),
                          R"(}},{"create_alias":{"collection_name":)", JsonQuoted(to), R"(,"alias_name":)",
                          JsonQuoted(alias), "}}]}"));
}

// Of the vector `name`; 0: there is no such vector, or no collection.
int DimOf(const std::optional<QdrantCollection>& collection, absl::string_view name) {
  const QdrantCollection::Vector* const vector = collection.has_value() ? collection->Find(name) : nullptr;
  return vector == nullptr ? 0 : vector->dim;
}

absl::StatusOr<bool> MoveAliasBack(QdrantClient* client, const QdrantSide& side, int old_dim) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> now, ResolveQdrantAlias(client, side.alias));
  if (now == side.real) return false;
  const auto refuse = [&](absl::string_view why) {
    return absl::FailedPreconditionError(
        absl::StrCat(client->url(), ": the alias `", side.alias, "` cannot be moved back to `", side.real, "`: ", why));
  };
  if (now != side.side) {
    return refuse(absl::StrCat("somebody has changed it since; it means ",
                               now.has_value() ? absl::StrCat("`", *now, "`") : "nothing", ", expected `", side.side,
                               "`"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> old, GetQdrantCollection(client, side.real));
  if (!old.has_value()) return refuse("that collection is gone; restore it from a snapshot of yours");
  if (DimOf(old, side.vector) != old_dim) {
    return refuse(absl::StrCat("its vectors have ", DimOf(old, side.vector), " numbers, expected ", old_dim));
  }
  ABSL_RETURN_IF_ERROR(MoveAlias(client, side.alias, side.real));
  return true;
}

absl::StatusOr<std::string> FirstWith(QdrantClient* client, absl::string_view prefix) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListQdrantCollections(client));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, prefix)) return name;
  }
  return "";
}

}  // namespace

absl::StatusOr<std::optional<QdrantSide>> FindQdrantSide(QdrantClient* client, const QdrantLocation& asked,
                                                         const std::optional<QdrantCollection>& found, int dim) {
  QdrantSide side{.real = asked.collection,
                  .side = absl::StrCat(asked.collection, kSideInfix, dim),
                  .vector = asked.vector,
                  .dim = dim};
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> alias, ResolveQdrantAlias(client, asked.collection));
  if (alias.has_value()) {
    side.alias = asked.collection;
    side.real = *alias;
    if (side.real == side.side) return std::nullopt;  // moved already
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> there, GetQdrantCollection(client, side.side));
  side.side_is_there = there.has_value();
  std::optional<QdrantCollection> base = found;
  side.base = side.real;
  int old_dim = 0;
  if (found.has_value()) {
    ABSL_ASSIGN_OR_RETURN(const QdrantCollection::Vector vector, FindQdrantVector(*found, asked));
    old_dim = vector.dim;
  }
  if (!found.has_value() || old_dim == dim) {
    if (!side.side_is_there) return std::nullopt;
    ABSL_ASSIGN_OR_RETURN(const std::string before, FirstWith(client, absl::StrCat(side.real, kBeforeInfix)));
    if (before.empty()) return std::nullopt;  // the side collection is somebody else's
    ABSL_ASSIGN_OR_RETURN(std::optional<QdrantCollection> copy, GetQdrantCollection(client, before));
    side.before = side.base = before;
    base = std::move(copy);
  } else if (side.alias.empty()) {
    side.before = absl::StrCat(side.real, kBeforeInfix, old_dim);
    ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> before, GetQdrantCollection(client, side.before));
    if (before.has_value() && !side.side_is_there) {
      return absl::AlreadyExistsError(absl::StrCat(asked.url, ": `", side.before,
                                                   "` is there from an earlier change and would be overwritten; "
                                                   "remove it, or give it another name, then run this again"));
    }
  }
  if (!base.has_value()) return absl::NotFoundError(absl::StrCat(asked.url, ": `", side.base, "` is gone"));
  if (base->has_sparse) {
    return absl::UnimplementedError(
        absl::StrCat(asked.Name(),
                     ": has sparse vectors, which on_width=side does not copy; make the new collection "
                     "yourself and name it as the target"));
  }
  side.like = *std::move(base);
  return side;
}

absl::Status MakeQdrantSide(QdrantClient* client, const QdrantSide& side) {
  return MakeLike(client, side.side, side.like, side.vector, side.dim);
}

absl::Status BuildQdrantGraph(QdrantClient* client, const std::string& collection, int m) {
  return Put(client, "PATCH", PathOf(collection), absl::StrCat(R"({"hnsw_config":{"m":)", m, "}}"));
}

absl::Status SwitchQdrantSide(QdrantClient* client, const QdrantSide& side, bool keep_old) {
  const int m = side.like.hnsw_m;
  if (!side.alias.empty()) {
    absl::Status status = BuildQdrantGraph(client, side.side, m);
    if (status.ok()) status = MoveAlias(client, side.alias, side.side);
    if (status.ok() && !keep_old) status = Put(client, "DELETE", PathOf(side.real), "");
    return status;
  }
  ABSL_ASSIGN_OR_RETURN(std::optional<QdrantCollection> now, GetQdrantCollection(client, side.real));
  if (now.has_value() && DimOf(now, side.vector) != side.dim) {
    absl::Status status = MakeLike(client, side.before, side.like, "", 0);
    if (status.ok()) status = Copy(client, side.real, side.before, side.like, CopyOnto::kNothing);
    if (status.ok()) status = BuildQdrantGraph(client, side.before, m);
    if (status.ok()) status = Put(client, "DELETE", PathOf(side.real), "");
    ABSL_RETURN_IF_ERROR(status);
  }
  absl::Status status = MakeLike(client, side.real, side.like, side.vector, side.dim);
  if (status.ok()) status = Copy(client, side.side, side.real, side.like, CopyOnto::kNothing);
  if (status.ok()) status = BuildQdrantGraph(client, side.real, m);
  if (status.ok()) status = Put(client, "DELETE", PathOf(side.side), "");
  if (status.ok() && !keep_old) status = Put(client, "DELETE", PathOf(side.before), "");
  return status;
}

absl::StatusOr<bool> SwitchQdrantSideBack(QdrantClient* client, const QdrantSide& side, int old_dim) {
  if (!side.alias.empty()) return MoveAliasBack(client, side, old_dim);
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> before, GetQdrantCollection(client, side.before));
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> now, GetQdrantCollection(client, side.real));
  const int now_dim = DimOf(now, side.vector);
  if (!before.has_value() && now_dim == old_dim) return false;
  const auto refuse = [&](absl::string_view why) {
    return absl::FailedPreconditionError(
        absl::StrCat(client->url(), ": the collection `", side.real, "` cannot be put back: ", why));
  };
  if (!before.has_value()) {
    return refuse(absl::StrCat("`", side.before, "`, which held it, is gone; restore it from a snapshot of yours"));
  }
  if (DimOf(before, side.vector) != old_dim) {
    return refuse(absl::StrCat("`", side.before, "` has vectors of ", DimOf(before, side.vector), " numbers, expected ",
                               old_dim));
  }
  if (now.has_value() && now_dim != old_dim && now_dim != side.dim) {
    return refuse(absl::StrCat("it has vectors of ", now_dim, " numbers, expected ", side.dim));
  }
  absl::Status status;
  if (now.has_value() && now_dim == side.dim) {
    status = MakeLike(client, side.side, *now, "", 0);
    if (status.ok()) status = Copy(client, side.real, side.side, *now, CopyOnto::kOlder);
    if (status.ok()) status = Put(client, "DELETE", PathOf(side.real), "");
  }
  if (status.ok()) status = MakeLike(client, side.real, *before, "", 0);
  // A copy that was interrupted on its way to `before` is a part of what is there.
  if (status.ok()) status = Copy(client, side.before, side.real, *before, CopyOnto::kNewer);
  const bool has_graph = now_dim == old_dim && now->hnsw_m != 0;
  if (status.ok() && !has_graph) status = BuildQdrantGraph(client, side.real, before->hnsw_m);
  if (status.ok()) status = Put(client, "DELETE", PathOf(side.before), "");
  ABSL_RETURN_IF_ERROR(status);
  return true;
}

absl::StatusOr<std::string> QdrantRowsOf(QdrantClient* client, const QdrantLocation& asked) {
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> found, GetQdrantCollection(client, asked.collection));
  ABSL_ASSIGN_OR_RETURN(const std::string side, FirstWith(client, absl::StrCat(asked.collection, kSideInfix)));
  ABSL_ASSIGN_OR_RETURN(const std::string before, FirstWith(client, absl::StrCat(asked.collection, kBeforeInfix)));
  if (side.empty() || before.empty()) {
    return found.has_value() ? absl::StatusOr<std::string>(asked.collection) : NoQdrantCollection(client, asked);
  }
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> copy, GetQdrantCollection(client, before));
  return DimOf(found, asked.vector) == DimOf(copy, asked.vector) ? asked.collection : before;
}

}  // namespace reembed
