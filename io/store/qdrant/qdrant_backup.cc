// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_backup.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"
#include "engine/status_macros.h"
#include "io/file/gzip.h"
#include "io/store/qdrant/qdrant_points.h"
#include "io/store/qdrant/qdrant_scroll.h"
#include "io/store/qdrant/qdrant_writer.h"

namespace reembed {
namespace {

constexpr int kPage = 256;

std::string PathOf(const std::string& collection) { return absl::StrCat("/collections/", QdrantPathPart(collection)); }

// The `vectors` of a request that makes a collection like this one.
std::string VectorsJson(const QdrantCollection& collection) {
  if (collection.vectors.size() == 1 && collection.vectors[0].name.empty()) return collection.vectors[0].json;
  std::string json = "{";
  for (const QdrantCollection::Vector& vector : collection.vectors) {
    absl::StrAppend(&json, json.size() > 1 ? "," : "", JsonQuoted(vector.name), ":", vector.json);
  }
  return json + "}";
}

// What a request that makes a like collection says, and which payload indexes it then needs.
std::string SetUpJson(const QdrantCollection& collection) {
  std::string json =
      absl::StrCat(R"({"create":{"vectors":)", VectorsJson(collection), R"(,"hnsw_config":)", collection.hnsw);
  for (const auto& [setting, value] : collection.settings) absl::StrAppend(&json, ",", JsonQuoted(setting), ":", value);
  json += R"(},"payload_indexes":[)";
  for (size_t i = 0; i < collection.indexes.size(); ++i) {
    const auto& [field, schema] = collection.indexes[i];
    absl::StrAppend(&json, i > 0 ? "," : "", R"({"field_name":)", JsonQuoted(field), R"(,"field_schema":)", schema,
                    "}");
  }
  return json + "]}";
}

// What the file says of itself.
struct FileFacts {
  int64_t points = 0, said_points = -1;
  std::string create;                // body of the request that makes the collection
  std::vector<std::string> indexes;  // bodies of the requests that make its payload indexes
};

absl::StatusOr<FileFacts> ReadFacts(const std::string& path) {
  FileFacts facts;
  int64_t size = 0;
  ABSL_RETURN_IF_ERROR(ReadGzipJson(path, [&](absl::string_view name, absl::string_view token, bool element) {
    if (element && name == "points") ++facts.points;
    if (!element && name == "stats") {
      facts.said_points = JsonInteger(QdrantFieldIn(token, "points_count")).value_or(-1);
      size = JsonInteger(QdrantFieldIn(token, "vector_size")).value_or(0);
    }
    if (!element && name == "collection") {
      facts.create = std::string(QdrantFieldIn(token, "create"));
      JsonScanner indexes(QdrantFieldIn(token, "payload_indexes"));
      (void)ForEachElement(&indexes, [&facts](absl::string_view index) {
        facts.indexes.emplace_back(index);
        return true;
      });
    }
    return absl::OkStatus();
  }));
  if (facts.said_points != facts.points) {
    return absl::DataLossError(absl::StrCat(path, ": it says that it has ", facts.said_points, " points, and has ",
                                            facts.points, "; this is no whole backup of a collection"));
  }
  if (!facts.create.empty()) return facts;
  if (size <= 0) return absl::DataLossError(absl::StrCat(path, ": it does not say how wide its vectors are"));
  // As AutoMem makes it. [automem/stores/runtime_clients.py:134-181]
  facts.create = absl::StrCat(R"({"vectors":{"size":)", size, R"(,"distance":"Cosine"}})");
  for (const char* const field : {"tags", "tag_prefixes"}) {
    facts.indexes.push_back(absl::StrCat(R"({"field_name":")", field, R"(","field_schema":"keyword"})"));
  }
  return facts;
}

// Makes the collection, fills it from the file, and counts.
absl::Status Fill(QdrantClient* client, const std::string& name, const std::string& path, const FileFacts& facts,
                  RestoreProgress told) {
  ABSL_RETURN_IF_ERROR(client->Call({"PUT", PathOf(name), facts.create}).status());
  // Before the points, so that the graph gets its links for filters.
  for (const std::string& index : facts.indexes) {
    ABSL_RETURN_IF_ERROR(client->Call({"PUT", PathOf(name) + "/index?wait=true", index}).status());
  }
  absl::Status failure;
  int64_t points = 0;
  const std::string stage = absl::StrCat("filling ", name);
  QdrantWriter writer(client, PathOf(name) + "/points",
                      [&](absl::Span<const size_t>, const absl::Status& status) { failure.Update(status); });
  absl::Status read = ReadGzipJson(path, [&](absl::string_view member, absl::string_view token, bool element) {
    // A point of the file is a point of a request, to the letter.
    if (!element || member != "points") return failure;
    told(stage, points++, facts.points, RestoreUnit::kRows);
    writer.Add(0)->append(token.data(), token.size());
    return failure;
  });
  writer.Finish();
  ABSL_RETURN_IF_ERROR(failure);
  ABSL_RETURN_IF_ERROR(read);
  told(stage, points, facts.points, RestoreUnit::kRows);
  ABSL_ASSIGN_OR_RETURN(const int64_t count, CountQdrantPoints(client, name, ""));
  if (count == facts.points) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(client->url(), PathOf(name), ": expected ", facts.points, " points, got ",
                                         count, "; is something writing to it? stop it, then run this again"));
}

absl::Status Drop(QdrantClient* client, const std::string& name) {
  const absl::Status dropped = client->Call({"DELETE", PathOf(name), ""}).status();
  return absl::IsNotFound(dropped) ? absl::OkStatus() : dropped;
}

}  // namespace

absl::StatusOr<int64_t> CountQdrantCollection(const QdrantLocation& place, const QdrantOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, QdrantClient::Make(place.url, options));
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> found,
                        GetQdrantCollection(client.get(), place.collection));
  if (!found.has_value()) return -1;
  return CountQdrantPoints(client.get(), place.collection, "");
}

absl::StatusOr<RowCounts> BackUpQdrantCollection(const QdrantLocation& from, const QdrantOptions& options,
                                                 const std::string& timestamp, const std::string& to) {
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, QdrantClient::Make(from.url, options));
  ABSL_ASSIGN_OR_RETURN(const std::optional<QdrantCollection> found,
                        GetQdrantCollection(client.get(), from.collection));
  if (!found.has_value()) return NoQdrantCollection(client.get(), from);
  const QdrantCollection& collection = *found;
  if (collection.has_sparse || collection.vectors.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        from.Name(), ": has sparse vectors, or none, which AutoMem's form of a backup cannot hold; make a ",
        "snapshot: POST ", from.url, PathOf(from.collection), "/snapshots"));
  }
  ABSL_ASSIGN_OR_RETURN(const int64_t before, CountQdrantPoints(client.get(), from.collection, ""));
  ABSL_ASSIGN_OR_RETURN(GzipWriter file, GzipWriter::Create(to));
  absl::Status status =
      file.Append(absl::StrCat(R"({"timestamp":)", JsonQuoted(timestamp),
                               ",\n\"collection_name\":", JsonQuoted(from.collection), ",\n\"points\":["));
  int64_t points = 0;
  QdrantScroll scroll(client.get(), PathOf(from.collection), R"("with_payload":true,"with_vector":true)", kPage);
  while (status.ok()) {
    ABSL_ASSIGN_OR_RETURN(const QdrantPoint* point, scroll.Next());
    if (point == nullptr) break;
    const auto or_empty = [](absl::string_view json) { return json.empty() ? "{}" : json; };
    status = file.Append(absl::StrCat(points++ > 0 ? ",\n" : "\n", R"({"id":)", point->id.Json(), R"(,"vector":)",
                                      or_empty(point->vector), R"(,"payload":)", or_empty(point->payload), "}"));
  }
  if (status.ok()) {
    status = file.Append(absl::StrCat("],\n\"stats\":{\"points_count\":", points, ",\"vector_size\":",
                                      collection.vectors[0].dim, "},\n\"collection\":", SetUpJson(collection), "}\n"));
  }
  if (status.ok()) status = file.Close();
  ABSL_RETURN_IF_ERROR(status);
  ABSL_ASSIGN_OR_RETURN(const int64_t after, CountQdrantPoints(client.get(), from.collection, ""));
  if (points < std::min(before, after)) {
    return absl::AbortedError(absl::StrCat(from.Name(), ": expected ", after, " points, got ", points,
                                           "; points were deleted meanwhile, run this again"));
  }
  return RowCounts{{"points", points}};
}

absl::StatusOr<std::string> RestoreQdrantCollection(const std::string& from, const QdrantLocation& to,
                                                    const QdrantOptions& options, RestoreProgress told) {
  ABSL_ASSIGN_OR_RETURN(const FileFacts facts, ReadFacts(from));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<QdrantClient> client, QdrantClient::Make(to.url, options));
  ABSL_ASSIGN_OR_RETURN(const std::optional<std::string> alias, ResolveQdrantAlias(client.get(), to.collection));
  std::string side = to.collection + "__restore";
  if (alias.has_value() && *alias == side) side += "_2";
  ABSL_RETURN_IF_ERROR(Drop(client.get(), side));
  ABSL_RETURN_IF_ERROR(Fill(client.get(), side, from, facts, told));
  if (alias.has_value()) {
    const std::string name = JsonQuoted(to.collection);
    ABSL_RETURN_IF_ERROR((client)
                             ->Call({"POST", "/collections/aliases",
                                     absl::StrCat(R"({"actions":[{"delete_alias":{"alias_name":)", name,
                                                  R"(}},{"create_alias":{"collection_name":)", JsonQuoted(side),
                                                  R"(,"alias_name":)", name, "}}]}")})
                             .status());
    return absl::StrCat(to.collection, " is an alias and stands for ", side, " now; ", *alias,
                        " stays until you delete it");
  }
  ABSL_RETURN_IF_ERROR(Drop(client.get(), to.collection));
  if (absl::Status filled = Fill(client.get(), to.collection, from, facts, told); !filled.ok()) {
    return absl::Status(filled.code(),
                        absl::StrCat(filled.message(), "; ", side, " has all the points; run the same command again"));
  }
  ABSL_RETURN_IF_ERROR(Drop(client.get(), side));
  return "";
}

}  // namespace reembed
