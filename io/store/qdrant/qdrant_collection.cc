// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_collection.h"

#include <simdjson.h>

#include <algorithm>
#include <string_view>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

using simdjson::dom::element;

std::string Json(const element& value) { return simdjson::minify(value); }

absl::Status Unexpected(const QdrantClient& client, absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat(client.url(), ": expected ", what, " as Qdrant answers it, got something else"));
}

// {"size":4,"distance":"Cosine",...}
bool ReadVector(const element& json, std::string name, QdrantCollection* collection) {
  int64_t dim = 0;
  std::string_view distance;
  if (json["size"].get_int64().get(dim) != simdjson::SUCCESS) return false;
  if (json["distance"].get_string().get(distance) != simdjson::SUCCESS) return false;
  collection->vectors.push_back({std::move(name), static_cast<int>(dim), std::string(distance), Json(json)});
  return true;
}

bool ReadVectors(const element& json, QdrantCollection* collection) {
  if (element size; json["size"].get(size) == simdjson::SUCCESS && size.is_int64()) {
    return ReadVector(json, "", collection);
  }
  simdjson::dom::object names;
  if (json.get_object().get(names) != simdjson::SUCCESS) return false;
  for (const auto& field : names) {
    if (!ReadVector(field.value, std::string(field.key), collection)) return false;
  }
  return true;
}

bool ReadCollection(const element& result, QdrantCollection* collection) {
  element config, params, value;
  if (result["config"].get(config) != simdjson::SUCCESS || config["params"].get(params) != simdjson::SUCCESS) {
    return false;
  }
  if (params["vectors"].get(value) == simdjson::SUCCESS && !ReadVectors(value, collection)) return false;
  if (simdjson::dom::object sparse; params["sparse_vectors"].get_object().get(sparse) == simdjson::SUCCESS) {
    collection->has_sparse = sparse.size() > 0;
  }
  for (const char* name : {"shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload"}) {
    if (params[name].get(value) == simdjson::SUCCESS && !value.is_null()) {
      collection->settings.emplace_back(name, Json(value));
    }
  }
  if (config["quantization_config"].get(value) == simdjson::SUCCESS && !value.is_null()) {
    collection->settings.emplace_back("quantization_config", Json(value));
  }
  if (config["optimizer_config"].get(value) == simdjson::SUCCESS && value.is_object()) {
    collection->settings.emplace_back("optimizers_config", QdrantJsonWith(Json(value), "", ""));
  }
  if (config["hnsw_config"].get(value) == simdjson::SUCCESS && value.is_object()) collection->hnsw = Json(value);
  int64_t number = 0;
  if (config["metadata"]["reembed_hnsw_m"].get_int64().get(number) == simdjson::SUCCESS) {
    collection->restore_m = static_cast<int>(number);
  }
  if (config["hnsw_config"]["m"].get_int64().get(number) == simdjson::SUCCESS) {
    collection->hnsw_m = static_cast<int>(number);
  }
  if (result["points_count"].get_int64().get(number) == simdjson::SUCCESS) collection->points = number;
  if (std::string_view status; result["status"].get_string().get(status) == simdjson::SUCCESS) {
    collection->status = std::string(status);
  }
  simdjson::dom::object schema;
  if (result["payload_schema"].get_object().get(schema) != simdjson::SUCCESS) return true;
  for (const auto& field : schema) {
    element params_of_index;
    const bool whole = field.value["params"].get(params_of_index) == simdjson::SUCCESS && params_of_index.is_object();
    if (!whole && field.value["data_type"].get(params_of_index) != simdjson::SUCCESS) return false;
    collection->indexes.emplace_back(std::string(field.key), Json(params_of_index));
  }
  return true;
}

absl::Status Choose(const Location& location, absl::string_view name, absl::Span<const absl::string_view> allowed) {
  const std::string value = location.Get(name);
  if (value.empty() || std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("qdrant:", location.path, ": ", name, "=", value, ": expected ",
                   absl::StrJoin(std::vector<std::string>(allowed.begin(), allowed.end()), " or ")));
}

}  // namespace

std::string QdrantLocation::Name() const { return absl::StrCat(url, "/", collection); }

std::string QdrantLocation::Path(absl::string_view rest) const {
  return absl::StrCat("/collections/", QdrantPathPart(collection), rest);
}

std::optional<QdrantId> QdrantLocation::IdOf(KeyView of) const {
  return hashed_ids ? std::optional<QdrantId>(HashedQdrantId(of)) : ParseQdrantId(of);
}

absl::StatusOr<QdrantLocation> ParseQdrantLocation(const Location& location) {
  absl::string_view path = location.path;
  // Before anything shows the address.
  const size_t host = path.find("://") == absl::string_view::npos ? 0 : path.find("://") + 3;
  if (absl::StrContains(path.substr(host, path.find('/', host) - host), '@')) {
    return absl::InvalidArgumentError(
        "qdrant: the address holds a user or password, and addresses are written down in jobs and messages; leave it "
        "out and set QDRANT_API_KEY");
  }
  ABSL_RETURN_IF_ERROR(location.CheckParameters(
      {"vector", "text", "filter", "mode", "ids", "key", "distance", "create", "on_width", "keep_old", "snapshot"}));
  for (const auto& [name, allowed] :
       {std::pair("mode", std::vector<absl::string_view>{"update", "upsert"}),
        std::pair("ids", std::vector<absl::string_view>{"same", "uuid5"}),
        std::pair("distance", std::vector<absl::string_view>{"Cosine", "Dot", "Euclid", "Manhattan"}),
        std::pair("create", std::vector<absl::string_view>{"yes", "no"}),
        std::pair("on_width", std::vector<absl::string_view>{"refuse", "side"}),
        std::pair("snapshot", std::vector<absl::string_view>{"yes", "no"}),
        std::pair("keep_old", std::vector<absl::string_view>{"yes", "no"})}) {
    ABSL_RETURN_IF_ERROR(Choose(location, name, allowed));
  }
  absl::ConsumeSuffix(&path, "/");
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos || slash <= host || slash + 1 == path.size()) {
    return absl::InvalidArgumentError(absl::StrCat("qdrant:", location.path,
                                                   ": expected the server and a collection, for example "
                                                   "qdrant:http://localhost:6333/memories"));
  }
  QdrantLocation asked{.url = absl::StrCat(host == 0 ? "http://" : "", path.substr(0, slash)),
                       .collection = std::string(path.substr(slash + 1)),
                       .vector = location.Get("vector"),
                       .text = location.Get("text", "content"),
                       .filter = location.Get("filter"),
                       .hashed_ids = location.Get("ids") == "uuid5",
                       .key = location.Get("key", "key"),
                       .distance = location.Get("distance", "Cosine"),
                       .side = location.Get("on_width") == "side",
                       .keep_old = location.Get("keep_old") != "no",
                       .snapshot = location.Get("snapshot") == "yes"};
  const std::string mode = location.Get("mode");
  asked.mode = mode.empty()       ? QdrantLocation::Mode::kDefault
               : mode == "update" ? QdrantLocation::Mode::kUpdate
                                  : QdrantLocation::Mode::kUpsert;
  const std::string create = location.Get("create");
  asked.create = create.empty()    ? QdrantLocation::Create::kDefault
                 : create == "yes" ? QdrantLocation::Create::kYes
                                   : QdrantLocation::Create::kNo;
  return asked;
}

const QdrantCollection::Vector* QdrantCollection::Find(absl::string_view name) const {
  for (const Vector& vector : vectors) {
    if (vector.name == name) return &vector;
  }
  return nullptr;
}

absl::StatusOr<std::optional<QdrantCollection>> GetQdrantCollection(QdrantClient* client, const std::string& name) {
  const QdrantClient::Answer answer = client->Call({"GET", absl::StrCat("/collections/", QdrantPathPart(name)), ""});
  if (absl::IsNotFound(answer.status())) return std::nullopt;
  ABSL_RETURN_IF_ERROR(answer.status());
  simdjson::dom::parser parser;
  element result;
  QdrantCollection collection;
  if (parser.parse(answer->data(), answer->size())["result"].get(result) != simdjson::SUCCESS ||
      !ReadCollection(result, &collection)) {
    return Unexpected(*client, absl::StrCat("the description of collection `", name, "`"));
  }
  return collection;
}

absl::StatusOr<std::vector<std::string>> ListQdrantCollections(QdrantClient* client) {
  const QdrantClient::Answer answer = client->Call({"GET", "/collections", ""});
  ABSL_RETURN_IF_ERROR(answer.status());
  simdjson::dom::parser parser;
  simdjson::dom::array list;
  if (parser.parse(answer->data(), answer->size())["result"]["collections"].get_array().get(list) !=
      simdjson::SUCCESS) {
    return Unexpected(*client, "the list of collections");
  }
  std::vector<std::string> names;
  for (const element item : list) {
    if (std::string_view name; item["name"].get_string().get(name) == simdjson::SUCCESS) names.emplace_back(name);
  }
  return names;
}

absl::StatusOr<std::optional<std::string>> ResolveQdrantAlias(QdrantClient* client, const std::string& name) {
  const QdrantClient::Answer answer = client->Call({"GET", "/aliases", ""});
  ABSL_RETURN_IF_ERROR(answer.status());
  simdjson::dom::parser parser;
  simdjson::dom::array list;
  if (parser.parse(answer->data(), answer->size())["result"]["aliases"].get_array().get(list) != simdjson::SUCCESS) {
    return Unexpected(*client, "the list of aliases");
  }
  for (const element item : list) {
    std::string_view alias, collection;
    if (item["alias_name"].get_string().get(alias) == simdjson::SUCCESS && alias == name &&
        item["collection_name"].get_string().get(collection) == simdjson::SUCCESS) {
      return std::string(collection);
    }
  }
  return std::nullopt;
}

absl::Status NoQdrantCollection(QdrantClient* client, const QdrantLocation& asked) {
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListQdrantCollections(client));
  if (absl::c_linear_search(names, asked.collection)) {
    return absl::AbortedError(absl::StrCat(asked.Name(),
                                           ": the server did not find it, and lists it now: somebody is "
                                           "making it; run the same command again"));
  }
  const std::string near = NearestName(asked.collection, names);
  return absl::NotFoundError(absl::StrCat(asked.url, ": no collection `", asked.collection, "`",
                                          !near.empty()   ? absl::StrCat("; did you mean `", near, "`?")
                                          : names.empty() ? "; there is none at all"
                                                          : absl::StrCat("; there are: ", absl::StrJoin(names, ", "))));
}

absl::StatusOr<int64_t> CountQdrantPoints(QdrantClient* client, const std::string& collection,
                                          absl::string_view filter) {
  const QdrantClient::Answer answer =
      client->Call({"POST", absl::StrCat("/collections/", QdrantPathPart(collection), "/points/count"),
                    filter.empty() ? R"({"exact":true})" : absl::StrCat(R"({"exact":true,"filter":)", filter, "}")});
  ABSL_RETURN_IF_ERROR(answer.status());
  simdjson::dom::parser parser;
  int64_t count = 0;
  if (parser.parse(answer->data(), answer->size())["result"]["count"].get_int64().get(count) != simdjson::SUCCESS) {
    return Unexpected(*client, "a count");
  }
  return count;
}

absl::StatusOr<QdrantCollection::Vector> FindQdrantVector(const QdrantCollection& collection,
                                                          const QdrantLocation& asked) {
  if (const QdrantCollection::Vector* const found = collection.Find(asked.vector)) return *found;
  std::vector<std::string> names;
  for (const QdrantCollection::Vector& vector : collection.vectors) names.push_back(vector.name);
  std::string there = absl::StrCat("its vectors are: ", absl::StrJoin(names, ", "));
  if (names.empty()) there = "it has no dense vectors";
  if (names.size() == 1 && names[0].empty()) there = "its only vector has no name: leave &vector out";
  const std::string near = NearestName(asked.vector, names);
  return absl::NotFoundError(
      absl::StrCat(asked.Name(), ": ",
                   asked.vector.empty() ? absl::StrCat("points have no vector without a name; say &vector=NAME")
                                        : absl::StrCat("no vector `", asked.vector, "`"),
                   near.empty() ? absl::StrCat("; ", there) : absl::StrCat("; did you mean `", near, "`?")));
}

std::string QdrantJsonWith(absl::string_view json, absl::string_view name, absl::string_view value) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  std::string out = "{";
  const auto append = [&](absl::string_view key, absl::string_view text) {
    if (out.size() > 1) out.push_back(',');
    AppendJsonString(key, &out);
    absl::StrAppend(&out, ":", text);
  };
  if (parser.parse(json.data(), json.size()).get_object().get(object) == simdjson::SUCCESS) {
    for (const auto& field : object) {
      const absl::string_view key(field.key.data(), field.key.size());
      if (!field.value.is_null() && key != name) append(key, Json(field.value));
    }
  }
  if (!name.empty()) append(name, value);
  return out + "}";
}

std::string AllQdrantFilters(absl::Span<const std::string> filters) {
  std::vector<std::string> some;
  for (const std::string& filter : filters) {
    if (!filter.empty()) some.push_back(filter);
  }
  if (some.empty()) return "";
  return absl::StrCat(R"({"must":[)", absl::StrJoin(some, ","), "]}");
}

std::string HasQdrantVector(absl::string_view name) {
  std::string json = R"({"has_vector":)";
  AppendJsonString(name, &json);
  return json + "}";
}

}  // namespace reembed
