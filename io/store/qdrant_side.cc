#include "io/store/qdrant_side.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/json_text.h"
#include "io/store/qdrant_points.h"
#include "io/store/qdrant_writer.h"

namespace reembed {
namespace {

constexpr int64_t kPageBytes = int64_t{4} << 20;  // of vectors in one page of a copy
constexpr int64_t kBytesPerNumber = 12;           // in JSON
constexpr absl::string_view kSideInfix = "__reembed_";
constexpr absl::string_view kBeforeInfix = "__before_";

std::string Quoted(absl::string_view text) {
  std::string json;
  AppendJsonString(text, &json);
  return json;
}

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
      absl::StrAppend(&vectors, vectors.empty() ? "{" : ",", Quoted(each.name), ":", config);
    }
  }
  if (!like.vectors[0].name.empty()) vectors.push_back('}');
  std::string body = absl::StrCat(R"({"vectors":)", vectors, R"(,"hnsw_config":)", QdrantJsonWith(like.hnsw, "m", "0"));
  for (const auto& [setting, json] : like.settings) absl::StrAppend(&body, ",\"", setting, "\":", json);
  absl::Status made = Put(client, "PUT", PathOf(name), body + "}");
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  // Before the load, so that the graph gets its links for filters.
  for (const auto& [field, schema] : like.indexes) {
    absl::Status status = Put(client, "PUT", PathOf(name) + "/index?wait=true",
                              absl::StrCat(R"({"field_name":)", Quoted(field), R"(,"field_schema":)", schema, "}"));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// All points with everything they have.
absl::Status Copy(QdrantClient* client, const std::string& from, const std::string& to, const QdrantCollection& like) {
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
    if (!answer.ok()) return answer.status();
    const absl::StatusOr<QdrantPage> page = ReadQdrantPage(&*answer);
    if (!page.ok())
      return absl::Status(page.status().code(), absl::StrCat(client->url(), ": ", page.status().message()));
    for (const QdrantPoint& point : page->points) {
      std::string* const json = writer.Add(0);
      absl::StrAppend(json, R"({"id":)", point.id.Json(), R"(,"vector":)", point.vector.empty() ? "{}" : point.vector);
      if (!point.payload.empty()) absl::StrAppend(json, R"(,"payload":)", point.payload);
      json->push_back('}');
    }
    if (!page->next.has_value()) break;
    offset = page->next->Json();
  }
  writer.Finish();
  if (!failure.ok()) return failure;
  const absl::StatusOr<int64_t> wanted = CountQdrantPoints(client, from, "");
  const absl::StatusOr<int64_t> copied = CountQdrantPoints(client, to, "");
  if (!wanted.ok()) return wanted.status();
  if (!copied.ok()) return copied.status();
  if (*copied == *wanted) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(client->url(), ": ", from, " has ", *wanted, " points, and its copy ", to, " ",
                                         *copied, "; is something writing to them? stop it, then run this again"));
}

absl::StatusOr<std::string> FirstWith(QdrantClient* client, absl::string_view prefix) {
  const absl::StatusOr<std::vector<std::string>> names = ListQdrantCollections(client);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
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
  const absl::StatusOr<std::optional<std::string>> alias = ResolveQdrantAlias(client, asked.collection);
  if (!alias.ok()) return alias.status();
  if (alias->has_value()) {
    side.alias = asked.collection;
    side.real = **alias;
    if (side.real == side.side) return std::nullopt;  // moved already
  }
  const absl::StatusOr<std::optional<QdrantCollection>> there = GetQdrantCollection(client, side.side);
  if (!there.ok()) return there.status();
  side.side_is_there = there->has_value();
  std::optional<QdrantCollection> base = found;
  side.base = side.real;
  int old_dim = 0;
  if (found.has_value()) {
    const absl::StatusOr<QdrantCollection::Vector> vector = FindQdrantVector(*found, asked);
    if (!vector.ok()) return vector.status();
    old_dim = vector->dim;
  }
  if (!found.has_value() || old_dim == dim) {
    if (!side.side_is_there) return std::nullopt;
    const absl::StatusOr<std::string> before = FirstWith(client, absl::StrCat(side.real, kBeforeInfix));
    if (!before.ok()) return before.status();
    if (before->empty()) return std::nullopt;  // the side collection is somebody else's
    absl::StatusOr<std::optional<QdrantCollection>> copy = GetQdrantCollection(client, *before);
    if (!copy.ok()) return copy.status();
    side.before = side.base = *before;
    base = *std::move(copy);
  } else if (side.alias.empty()) {
    side.before = absl::StrCat(side.real, kBeforeInfix, old_dim);
    const absl::StatusOr<std::optional<QdrantCollection>> before = GetQdrantCollection(client, side.before);
    if (!before.ok()) return before.status();
    if (before->has_value() && !side.side_is_there) {
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
    if (status.ok()) {
      status = Put(client, "POST", "/collections/aliases",
                   absl::StrCat(R"({"actions":[{"delete_alias":{"alias_name":)", Quoted(side.alias),
                                R"(}},{"create_alias":{"collection_name":)", Quoted(side.side), R"(,"alias_name":)",
                                Quoted(side.alias), "}}]}"));
    }
    if (status.ok() && !keep_old) status = Put(client, "DELETE", PathOf(side.real), "");
    return status;
  }
  absl::StatusOr<std::optional<QdrantCollection>> now = GetQdrantCollection(client, side.real);
  if (!now.ok()) return now.status();
  const auto has_new_width = [&] {
    const QdrantCollection::Vector* const vector = now->has_value() ? (*now)->Find(side.vector) : nullptr;
    return vector != nullptr && vector->dim == side.dim;
  };
  if (now->has_value() && !has_new_width()) {
    absl::Status status = MakeLike(client, side.before, side.like, "", 0);
    if (status.ok()) status = Copy(client, side.real, side.before, side.like);
    if (status.ok()) status = BuildQdrantGraph(client, side.before, m);
    if (status.ok()) status = Put(client, "DELETE", PathOf(side.real), "");
    if (!status.ok()) return status;
  }
  absl::Status status = MakeLike(client, side.real, side.like, side.vector, side.dim);
  if (status.ok()) status = Copy(client, side.side, side.real, side.like);
  if (status.ok()) status = BuildQdrantGraph(client, side.real, m);
  if (status.ok()) status = Put(client, "DELETE", PathOf(side.side), "");
  if (status.ok() && !keep_old) status = Put(client, "DELETE", PathOf(side.before), "");
  return status;
}

absl::StatusOr<std::string> QdrantRowsOf(QdrantClient* client, const QdrantLocation& asked) {
  const absl::StatusOr<std::optional<QdrantCollection>> found = GetQdrantCollection(client, asked.collection);
  if (!found.ok()) return found.status();
  const absl::StatusOr<std::string> side = FirstWith(client, absl::StrCat(asked.collection, kSideInfix));
  if (!side.ok()) return side.status();
  const absl::StatusOr<std::string> before = FirstWith(client, absl::StrCat(asked.collection, kBeforeInfix));
  if (!before.ok()) return before.status();
  if (side->empty() || before->empty()) {
    return found->has_value() ? absl::StatusOr<std::string>(asked.collection) : NoQdrantCollection(client, asked);
  }
  const absl::StatusOr<std::optional<QdrantCollection>> copy = GetQdrantCollection(client, *before);
  if (!copy.ok()) return copy.status();
  const auto dim = [&](const std::optional<QdrantCollection>& of) {
    const QdrantCollection::Vector* const vector = of.has_value() ? of->Find(asked.vector) : nullptr;
    return vector == nullptr ? 0 : vector->dim;
  };
  return dim(*found) == dim(*copy) ? asked.collection : *before;
}

}  // namespace reembed
