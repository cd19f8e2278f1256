// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/qdrant_server.h"

#include <simdjson.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <compare>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "engine/number/json_text.h"
#include "gtest/gtest.h"
#include "tests/fakes/qdrant_openapi.h"
#include "tests/fakes/server_watch.h"

namespace reembed {

using simdjson::dom::element;
using simdjson::dom::object;

struct QdrantServer::Id {
  bool is_uuid = false;
  uint64_t number = 0;
  std::string uuid;  // 32 hex digits in lower case
  friend auto operator<=>(const Id&, const Id&) = default;

  std::string Text() const {
    if (!is_uuid) return absl::StrCat(number);
    return absl::StrCat(uuid.substr(0, 8), "-", uuid.substr(8, 4), "-", uuid.substr(12, 4), "-", uuid.substr(16, 4),
                        "-", uuid.substr(20));
  }
  std::string Json() const { return is_uuid ? absl::StrCat("\"", Text(), "\"") : Text(); }
};

struct QdrantServer::Collection {
  struct Vector {
    int dim = 0;
    std::string distance;
    std::string json;
  };
  std::map<std::string, Vector> vectors;
  std::map<std::string, std::string> settings;  // of the creation: name -> JSON
  int hnsw_m = 16;
  std::string metadata = "{}";
  std::map<std::string, std::string> indexes;
  std::map<Id, Point> points;
  std::vector<std::map<Id, Point>> snapshots;
  std::vector<std::function<void()>> promised;  // wait=false

  void Keep() {
    for (auto& change : std::exchange(promised, {})) change();
  }
};

struct QdrantServer::State {
  std::mutex mutex;
  std::map<std::string, Collection> collections;
  std::map<std::string, std::string> aliases;
  std::map<std::string, int> requests;
  size_t largest_body = 0;
  int fail_count = 0;
  int fail_status = 0;
  std::string refused_part;  // empty: none
  std::function<bool(const std::string&, const std::string&)> fail_matches;
};

namespace {

// What a handler throws to itself.
struct Refusal {
  int status;
  std::string words;
};

HttpServerResponse Ok(const std::string& result) {
  return {.body = absl::StrCat(R"({"result":)", result, R"(,"status":"ok","time":0.000012})")};
}

HttpServerResponse Refused(int status, absl::string_view words) {
  return {.status = status, .body = absl::StrCat(R"({"status":{"error":)", JsonQuoted(words), R"(},"time":0.00001})")};
}

std::string Decoded(absl::string_view part) {
  std::string out;
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] == '%' && i + 2 < part.size()) {
      out += absl::HexStringToBytes(part.substr(i + 1, 2));
      i += 2;
    } else {
      out.push_back(part[i]);
    }
  }
  return out;
}

}  // namespace

// One request on its way, with the state locked.
struct Handling {
  using Id = QdrantServer::Id;
  using Point = QdrantServer::Point;
  using Collection = QdrantServer::Collection;

  const QdrantServer::Options& options;
  QdrantServer::State& state;
  std::string method;
  std::vector<std::string> parts;  // of the path
  std::string query;
  absl::string_view text;  // the body
  simdjson::dom::parser parser{};
  element body;

  void Parse() {
    if (parser.parse(text.data(), text.size()).get(body) != simdjson::SUCCESS) {
      throw Refusal{400, "Format error in JSON body: expected value"};
    }
  }

  Collection& Find(const std::string& name) {
    const auto alias = state.aliases.find(name);
    const auto found = state.collections.find(alias == state.aliases.end() ? name : alias->second);
    if (found == state.collections.end()) {
      throw Refusal{404, absl::StrCat("Not found: Collection `", name, "` doesn't exist!")};
    }
    return found->second;
  }

  static Id IdOf(const element& json) {
    if (uint64_t number; json.get_uint64().get(number) == simdjson::SUCCESS) return {.number = number};
    std::string_view text;
    if (json.get_string().get(text) == simdjson::SUCCESS) {
      std::string digits = absl::AsciiStrToLower(absl::StrReplaceAll(
          absl::string_view(text.data(), text.size()), {{"urn:uuid:", ""}, {"-", ""}, {"{", ""}, {"}", ""}}));
      if (digits.size() == 32 && std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit)) {
        return {.is_uuid = true, .uuid = digits};
      }
    }
    throw Refusal{400, absl::StrCat("Format error in JSON body: value ", std::string(simdjson::minify(json)),
                                    " is not a valid point ID, valid values are either an unsigned integer or a UUID")};
  }

  static std::vector<float> VectorOf(const Collection::Vector& config, const element& json) {
    simdjson::dom::array numbers;
    if (json.get_array().get(numbers) != simdjson::SUCCESS) throw Refusal{400, "Wrong input: not a vector"};
    std::vector<float> vector;
    double sum = 0;
    for (const element number : numbers) {
      double value = 0;
      if (number.get_double().get(value) != simdjson::SUCCESS) throw Refusal{400, "Format error in JSON body"};
      vector.push_back(static_cast<float>(value));
      sum += double{vector.back()} * vector.back();
    }
    if (static_cast<int>(vector.size()) != config.dim) {
      throw Refusal{400, absl::StrCat("Wrong input: Vector dimension error: expected dim: ", config.dim, ", got ",
                                      vector.size())};
    }
    // What has unit length is kept to the bit: is_length_zero_or_normalized() in lib/segment/src/spaces/tools.rs.
    if (config.distance == "Cosine" && sum > 0 && std::abs(sum - 1) > 1e-6) {
      const float length = std::sqrt(static_cast<float>(sum));
      for (float& value : vector) value /= length;
    }
    return vector;
  }

  static std::map<std::string, std::vector<float>> VectorsOf(const Collection& collection, const element& json) {
    std::map<std::string, std::vector<float>> vectors;
    if (json.is_array()) {
      const auto config = collection.vectors.find("");
      if (config == collection.vectors.end()) {
        throw Refusal{400, "Wrong input: Not existing vector name error: "};
      }
      vectors[""] = VectorOf(config->second, json);
      return vectors;
    }
    object named;
    if (json.get_object().get(named) != simdjson::SUCCESS) throw Refusal{400, "Format error in JSON body"};
    for (const auto& field : named) {
      const auto config = collection.vectors.find(std::string(field.key));
      if (config == collection.vectors.end()) {
        throw Refusal{400, absl::StrCat("Wrong input: Not existing vector name error: ", std::string(field.key))};
      }
      vectors[config->first] = VectorOf(config->second, field.value);
    }
    return vectors;
  }

  // Applies now, or later if the client does not wait.
  HttpServerResponse Change(Collection* collection, std::function<void()> change) {
    const bool wait = absl::StrContains(query, "wait=true");
    if (wait) {
      collection->Keep();
      change();
    } else {
      collection->promised.push_back(std::move(change));
    }
    return Ok(absl::StrCat(R"({"operation_id":1,"status":")", wait ? "completed" : "acknowledged", "\"}"));
  }

  simdjson::dom::array PointsOfBody() {
    simdjson::dom::array points;
    if (body["points"].get_array().get(points) != simdjson::SUCCESS) {
      throw Refusal{400, "Format error in JSON body: missing field `points`"};
    }
    if (points.size() == 0) throw Refusal{422, "Validation error in JSON body: [points: no points]"};
    return points;
  }

  HttpServerResponse Upsert(Collection* collection) {
    std::vector<std::pair<Id, Point>> read;
    for (const element json : PointsOfBody()) {
      element id, vector;
      if (json["id"].get(id) != simdjson::SUCCESS || json["vector"].get(vector) != simdjson::SUCCESS) {
        throw Refusal{400, "Format error in JSON body: missing field `id` or `vector`"};
      }
      Point point{.vectors = VectorsOf(*collection, vector)};
      if (object payload; json["payload"].get_object().get(payload) == simdjson::SUCCESS) {
        for (const auto& field : payload) point.payload[std::string(field.key)] = simdjson::minify(field.value);
      }
      read.emplace_back(IdOf(id), std::move(point));
    }
    return Change(collection, [collection, read = std::move(read)] {
      for (const auto& [id, point] : read) collection->points[id] = point;
    });
  }

  // Those that are there are changed even if others are not, as in lib/segment's updaters.
  HttpServerResponse UpdateVectors(Collection* collection) {
    std::vector<std::pair<Id, std::map<std::string, std::vector<float>>>> read;
    for (const element json : PointsOfBody()) {
      element id, vector;
      if (json["id"].get(id) != simdjson::SUCCESS || json["vector"].get(vector) != simdjson::SUCCESS) {
        throw Refusal{400, "Format error in JSON body: missing field `id` or `vector`"};
      }
      read.emplace_back(IdOf(id), VectorsOf(*collection, vector));
    }
    std::string missing;
    for (const auto& [id, vectors] : read) {
      if (collection->points.count(id) == 0) missing = id.Text();
    }
    const HttpServerResponse done = Change(collection, [collection, read = std::move(read)] {
      for (const auto& [id, vectors] : read) {
        const auto found = collection->points.find(id);
        if (found == collection->points.end()) continue;
        for (const auto& [name, vector] : vectors) found->second.vectors[name] = vector;
      }
    });
    if (!missing.empty() && absl::StrContains(query, "wait=true")) {
      throw Refusal{404, absl::StrCat("Not found: No point with id ", missing, " found")};
    }
    return done;
  }

  HttpServerResponse DeleteVectors(Collection* collection) {
    std::vector<Id> ids;
    for (const element json : PointsOfBody()) ids.push_back(IdOf(json));
    std::vector<std::string> names;
    for (const element name : body["vector"]) {
      names.emplace_back(std::string_view(name));
      if (collection->vectors.count(names.back()) == 0) {
        throw Refusal{400, absl::StrCat("Wrong input: Not existing vector name error: ", names.back())};
      }
    }
    return Change(collection, [collection, ids, names] {
      for (const Id& id : ids) {
        const auto found = collection->points.find(id);
        for (const std::string& name : names) {
          if (found != collection->points.end()) found->second.vectors.erase(name);
        }
      }
    });
  }

  HttpServerResponse SetPayload(Collection* collection) {
    std::vector<Id> ids;
    for (const element json : body["points"]) ids.push_back(IdOf(json));
    std::map<std::string, std::string> fields;
    for (const auto& field : object(body["payload"])) fields[std::string(field.key)] = simdjson::minify(field.value);
    return Change(collection, [collection, ids, fields] {
      for (const Id& id : ids) {
        const auto found = collection->points.find(id);
        if (found == collection->points.end()) continue;
        for (const auto& [name, json] : fields) found->second.payload[name] = json;
      }
    });
  }

  bool Matches(const element& filter, const Id& id, const Point& point) {
    object members;
    if (filter.get_object().get(members) != simdjson::SUCCESS) throw Refusal{400, "Format error in JSON body: filter"};
    for (const auto& member : members) {
      const std::string name(member.key);
      const bool is_list = name == "must" || name == "must_not" || name == "should";
      if (!is_list) {
        if (name == "has_vector") {
          if (point.vectors.count(std::string(std::string_view(member.value))) == 0) return false;
        } else if (name == "has_id") {
          bool any = false;
          for (const element each : member.value) any = any || IdOf(each) == id;
          if (!any) return false;
        } else if (name == "is_empty") {
          const auto field = point.payload.find(std::string(std::string_view(member.value["key"])));
          if (field != point.payload.end() && field->second != "null" && field->second != "[]") return false;
        } else if (name == "key") {
          element wanted;
          if (filter["match"]["value"].get(wanted) != simdjson::SUCCESS) {
            throw Refusal{400, "Format error in JSON body: data did not match any variant of untagged enum Condition"};
          }
          const auto field = point.payload.find(std::string(std::string_view(member.value)));
          if (field == point.payload.end() || field->second != std::string(simdjson::minify(wanted))) return false;
        } else if (name != "match") {
          throw Refusal{400, absl::StrCat("Format error in JSON body: unknown field `", name, "`")};
        }
        continue;
      }
      bool any = false;
      bool all = true;
      for (const element each : member.value) {
        const bool met = Matches(each, id, point);
        any = any || met;
        all = all && met;
      }
      if ((name == "must" && !all) || (name == "must_not" && any) || (name == "should" && !any)) return false;
    }
    return true;
  }

  bool Wanted(const Id& id, const Point& point) {
    element filter;
    return body["filter"].get(filter) != simdjson::SUCCESS || filter.is_null() || Matches(filter, id, point);
  }

  std::string PointJson(const Id& id, const Point& point, bool payload_by_default) {
    std::string json = absl::StrCat(R"({"id":)", id.Json());
    element with;
    bool all = payload_by_default;
    std::optional<std::set<std::string>> some;
    if (body["with_payload"].get(with) == simdjson::SUCCESS) {
      if (with.is_bool()) {
        all = bool(with);
      } else {
        some.emplace();
        for (const element name : with) {
          some->insert(std::string(absl::string_view(std::string_view(name).data(), std::string_view(name).size())
                                       .substr(0, std::string_view(name).find('.'))));
        }
      }
    }
    if (all || some.has_value()) {
      std::vector<std::string> fields;
      for (const auto& [name, value] : point.payload) {
        if (!some.has_value() || some->count(name) > 0) fields.push_back(absl::StrCat(JsonQuoted(name), ":", value));
      }
      absl::StrAppend(&json, R"(,"payload":{)", absl::StrJoin(fields, ","), "}");
    }
    const auto numbers = [](const std::vector<float>& vector) {
      std::string list;
      for (const float number : vector) absl::StrAppendFormat(&list, "%s%.9g", list.empty() ? "[" : ",", number);
      return list + "]";
    };
    if (body["with_vector"].get(with) == simdjson::SUCCESS && !(with.is_bool() && !bool(with))) {
      std::set<std::string> names;
      if (with.is_array()) {
        for (const element name : with) names.insert(std::string(std::string_view(name)));
      }
      std::vector<std::string> named;
      for (const auto& [name, vector] : point.vectors) {
        if (!names.empty() && names.count(name) == 0) continue;
        if (name.empty()) {
          absl::StrAppend(&json, R"(,"vector":)", numbers(vector));
        } else {
          named.push_back(absl::StrCat(JsonQuoted(name), ":", numbers(vector)));
        }
      }
      if (point.vectors.count("") == 0) absl::StrAppend(&json, R"(,"vector":{)", absl::StrJoin(named, ","), "}");
    }
    return json + "}";
  }

  HttpServerResponse Retrieve(Collection* collection) {
    std::vector<std::string> points;
    simdjson::dom::array ids;
    if (body["ids"].get_array().get(ids) != simdjson::SUCCESS) throw Refusal{400, "Format error in JSON body: ids"};
    for (const element json : ids) {
      const Id id = IdOf(json);
      const auto found = collection->points.find(id);
      if (found != collection->points.end()) points.push_back(PointJson(id, found->second, true));
    }
    return Ok(absl::StrCat("[", absl::StrJoin(points, ","), "]"));
  }

  HttpServerResponse Scroll(Collection* collection) {
    int64_t limit = 10;
    if (element value; body["limit"].get(value) == simdjson::SUCCESS) limit = int64_t(value);
    auto at = collection->points.begin();
    if (element offset; body["offset"].get(offset) == simdjson::SUCCESS && !offset.is_null()) {
      at = collection->points.lower_bound(IdOf(offset));
    }
    std::vector<std::string> points;
    std::string next = "null";
    for (; at != collection->points.end(); ++at) {
      if (!Wanted(at->first, at->second)) continue;
      if (static_cast<int64_t>(points.size()) == limit) {
        next = at->first.Json();
        break;
      }
      points.push_back(PointJson(at->first, at->second, true));
    }
    return Ok(absl::StrCat(R"({"points":[)", absl::StrJoin(points, ","), R"(],"next_page_offset":)", next, "}"));
  }

  HttpServerResponse Count(Collection* collection) {
    int64_t count = 0;
    for (const auto& [id, point] : collection->points) count += Wanted(id, point) ? 1 : 0;
    return Ok(absl::StrCat(R"({"count":)", count, "}"));
  }

  HttpServerResponse Describe(const Collection& collection) {
    std::vector<std::string> named;
    std::string vectors;
    for (const auto& [name, vector] : collection.vectors) {
      if (name.empty()) vectors = vector.json;
      named.push_back(absl::StrCat(JsonQuoted(name), ":", vector.json));
    }
    if (vectors.empty()) vectors = absl::StrCat("{", absl::StrJoin(named, ","), "}");
    std::string params = absl::StrCat(R"({"vectors":)", vectors, R"(,"shard_number":1,"replication_factor":1)",
                                      R"(,"write_consistency_factor":1)");
    const auto on_disk = collection.settings.find("on_disk_payload");
    absl::StrAppend(&params, R"(,"on_disk_payload":)", on_disk == collection.settings.end() ? "true" : on_disk->second,
                    "}");
    std::vector<std::string> schema;
    for (const auto& [field, type] : collection.indexes) {
      schema.push_back(absl::StrCat(JsonQuoted(field),
                                    type[0] == '"' ? absl::StrCat(R"(:{"data_type":)", type)
                                                   : absl::StrCat(R"(:{"data_type":"x","params":)", type),
                                    R"(,"points":0})"));
    }
    return Ok(absl::StrCat(
        R"({"status":"green","optimizer_status":"ok","indexed_vectors_count":0,"points_count":)",
        collection.points.size(), R"(,"segments_count":2,"config":{"params":)", params, R"(,"hnsw_config":{"m":)",
        collection.hnsw_m, R"(,"ef_construct":100,"full_scan_threshold":10000,"on_disk":null})",
        R"(,"optimizer_config":{"deleted_threshold":0.2,"indexing_threshold":10000,"max_segment_size":null})",
        R"(,"quantization_config":null)",
        options.minor_version >= 16 ? absl::StrCat(R"(,"metadata":)", collection.metadata) : "",
        R"(},"payload_schema":{)", absl::StrJoin(schema, ","), "}}"));
  }

  static Collection::Vector ConfigOf(const element& json) {
    int64_t size = 0;
    std::string_view distance;
    if (json["size"].get_int64().get(size) != simdjson::SUCCESS ||
        json["distance"].get_string().get(distance) != simdjson::SUCCESS) {
      throw Refusal{400, "Format error in JSON body: data did not match any variant of untagged enum VectorsConfig"};
    }
    if (size < 1 || size > 65536) throw Refusal{422, "Validation error in JSON body: [vectors.size: out of range]"};
    return {static_cast<int>(size), std::string(distance), simdjson::minify(json)};
  }

  void Configure(Collection* collection) {
    if (int64_t m; body["hnsw_config"]["m"].get_int64().get(m) == simdjson::SUCCESS) {
      collection->hnsw_m = static_cast<int>(m);
    }
    if (element metadata; body["metadata"].get(metadata) == simdjson::SUCCESS) {
      collection->metadata = simdjson::minify(metadata);
    }
  }

  HttpServerResponse Create(const std::string& name) {
    Parse();
    if (state.collections.count(name) + state.aliases.count(name) > 0) {
      throw Refusal{409, absl::StrCat("Wrong input: Collection `", name, "` already exists!")};
    }
    Collection collection;
    element vectors;
    if (body["vectors"].get(vectors) == simdjson::SUCCESS) {
      if (element size; vectors["size"].get(size) == simdjson::SUCCESS && size.is_int64()) {
        collection.vectors[""] = ConfigOf(vectors);
      } else {
        for (const auto& field : object(vectors)) collection.vectors[std::string(field.key)] = ConfigOf(field.value);
      }
    }
    for (const auto& field : object(body)) collection.settings[std::string(field.key)] = simdjson::minify(field.value);
    Configure(&collection);
    state.collections[name] = std::move(collection);
    return Ok("true");
  }

  HttpServerResponse Aliases() {
    Parse();
    std::map<std::string, std::string> changed = state.aliases;
    for (const element action : body["actions"]) {
      if (element remove; action["delete_alias"].get(remove) == simdjson::SUCCESS) {
        changed.erase(std::string(std::string_view(remove["alias_name"])));
      } else if (element make; action["create_alias"].get(make) == simdjson::SUCCESS) {
        const std::string alias{std::string_view(make["alias_name"])};
        const std::string to{std::string_view(make["collection_name"])};
        if (state.collections.count(to) == 0) throw Refusal{404, "Not found: Collection doesn't exist!"};
        if (state.collections.count(alias) > 0) throw Refusal{409, "Wrong input: collection with the same name exists"};
        changed[alias] = to;
      }
    }
    state.aliases = std::move(changed);
    return Ok("true");
  }

  HttpServerResponse List() {
    std::vector<std::string> names;
    for (const auto& [name, collection] : state.collections)
      names.push_back(absl::StrCat(R"({"name":)", JsonQuoted(name), "}"));
    return Ok(absl::StrCat(R"({"collections":[)", absl::StrJoin(names, ","), "]}"));
  }

  HttpServerResponse ListAliases() {
    std::vector<std::string> names;
    for (const auto& [alias, to] : state.aliases) {
      names.push_back(
          absl::StrCat(R"({"alias_name":)", JsonQuoted(alias), R"(,"collection_name":)", JsonQuoted(to), "}"));
    }
    return Ok(absl::StrCat(R"({"aliases":[)", absl::StrJoin(names, ","), "]}"));
  }

  HttpServerResponse OfCollection() {
    const std::string& name = parts[1];
    const std::string rest = absl::StrJoin(std::vector<std::string>(parts.begin() + 2, parts.end()), "/");
    if (method == "PUT" && rest.empty()) return Create(name);
    if (method == "DELETE" && rest.empty()) {
      const bool gone = state.collections.erase(name) > 0;
      return Ok(gone ? "true" : "false");
    }
    Collection& collection = Find(name);
    if (method == "GET" && rest.empty()) return Describe(collection);
    if (options.swallow && method == "PUT" && absl::StartsWith(rest, "points")) return Ok("{}");
    if (!text.empty()) Parse();
    if (method == "PATCH" && rest.empty()) {
      Configure(&collection);
      return Ok("true");
    }
    if (method == "PUT" && rest == "index") {
      collection.indexes[std::string(std::string_view(body["field_name"]))] =
          simdjson::minify(element(body["field_schema"]));
      return Ok("{}");
    }
    if (method == "PUT" && parts.size() == 4 && parts[2] == "vectors" && options.minor_version >= 18) {
      collection.vectors[parts[3]] = ConfigOf(body["dense"]);
      return Ok("true");
    }
    if (method == "DELETE" && parts.size() == 4 && parts[2] == "vectors" && options.minor_version >= 18) {
      collection.vectors.erase(parts[3]);
      for (auto& [id, point] : collection.points) point.vectors.erase(parts[3]);
      return Ok("true");
    }
    if (method == "POST" && rest == "snapshots") {
      collection.snapshots.push_back(collection.points);
      return Ok(absl::StrCat(R"({"name":")", name, "-", collection.snapshots.size(),
                             R"(.snapshot","creation_time":null,"size":1,"checksum":null})"));
    }
    if (method == "POST" && rest == "points/vectors/delete") return DeleteVectors(&collection);
    if (method == "POST" && rest == "points/payload") return SetPayload(&collection);
    if (method == "PUT" && rest == "points") return Upsert(&collection);
    if (method == "PUT" && rest == "points/vectors") return UpdateVectors(&collection);
    if (method == "POST" && rest == "points") return Retrieve(&collection);
    if (method == "POST" && rest == "points/scroll") return Scroll(&collection);
    if (method == "POST" && rest == "points/count") return Count(&collection);
    if (method == "POST" && rest == "points/delete") {
      std::vector<Id> ids;
      for (const element json : body["points"]) ids.push_back(IdOf(json));
      return Change(&collection, [&collection, ids] {
        for (const Id& id : ids) collection.points.erase(id);
      });
    }
    return Refused(404, "");
  }

  HttpServerResponse Answer() {
    if (text.size() > options.max_body_bytes) {
      return Refused(400, absl::StrCat("Format error in JSON body: JSON payload (", text.size(),
                                       " bytes) is larger than allowed (limit: ", options.max_body_bytes, " bytes)."));
    }
    const std::string path = absl::StrJoin(parts, "/");
    if (path == "collections" && method == "GET") return List();
    if (path == "aliases" && method == "GET") return ListAliases();
    if (path == "collections/aliases" && method == "POST") return Aliases();
    if (parts.size() >= 2 && parts[0] == "collections") return OfCollection();
    return Refused(404, "");
  }
};

QdrantServer::QdrantServer(const Options& options) : options_(options), state_(std::make_unique<State>()) { Start(); }

QdrantServer::~QdrantServer() = default;

std::string QdrantServer::url() const { return absl::StrCat("http://127.0.0.1:", port_); }

void QdrantServer::Stop() { server_.reset(); }

void QdrantServer::Start() {
  // Not one that the system gives to connections: while the server is away, its port would go to one of them.
  if (port_ == 0) port_ = FreePort();
  const auto start = [this] {
    return HttpServer::Start({.port = port_,
                              .threads = 2,
                              .limits = {.max_body_bytes = size_t{128} << 20},
                              .stop_timeout = absl::ZeroDuration()},
                             [this](const HttpServerRequest& request) { return Handle(request); });
  };
  auto server = start();
  // A process that is being made has its parent's sockets until it is another program, the one that listened, too.
  for (int again = 0; !server.ok() && again < 500; ++again) {
    absl::SleepFor(absl::Milliseconds(10));
    server = start();
  }
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  port_ = server_->port();
}

HttpServerResponse QdrantServer::Handle(const HttpServerRequest& request) {
  const std::string method(request.method);
  const std::string target(request.target);
  const size_t question = target.find('?');
  const bool post_reads = !absl::StrContains(request.path, "aliases") && !absl::EndsWith(request.path, "/delete");
  const bool writes = method != "GET" && !(method == "POST" && post_reads);
  const std::string key(request.Header("api-key"));
  if (!options_.api_key.empty() && key != options_.api_key) {
    if (key.empty()) return Refused(401, "Must provide an API key or an Authorization bearer token");
    if (key != options_.read_only_key) return Refused(403, "Invalid API key or JWT");
    if (writes) return Refused(403, "Forbidden: Write access is required");
  }
  const std::lock_guard lock(state_->mutex);
  state_->largest_body = std::max(state_->largest_body, request.body.size());
  std::vector<std::string> parts = absl::StrSplit(request.path, '/', absl::SkipEmpty());
  for (std::string& part : parts) part = Decoded(part);
  const std::string query = question == std::string::npos ? "" : target.substr(question);
  if (!options_.swallow) {
    const std::string wrong = CheckAgainstQdrantOpenApi(method, parts, query, request.body);
    EXPECT_EQ(wrong, "") << method << " " << target << " is not as Qdrant's OpenAPI text has it";
  }
  std::vector<std::string> kind = parts;
  if (kind.size() > 1 && kind[0] == "collections" && kind[1] != "aliases") kind[1] = "{}";
  ++state_->requests[absl::StrCat(method, " /", absl::StrJoin(kind, "/"))];
  if (state_->fail_count > 0 && (state_->fail_matches == nullptr || state_->fail_matches(method, target))) {
    --state_->fail_count;
    HttpServerResponse failed = Refused(state_->fail_status, "Service is busy");
    if (state_->fail_status == 429) failed.headers.emplace_back("Retry-After", "1");
    return failed;
  }
  if (method == "PUT" && !state_->refused_part.empty() && absl::StrContains(request.body, state_->refused_part)) {
    return Refused(400, "Bad request: a point is against the rules of this collection");
  }
  Handling handling{.options = options_,
                    .state = *state_,
                    .method = method,
                    .parts = std::move(parts),
                    .query = query,
                    .text = request.body};
  try {
    return handling.Answer();
  } catch (const Refusal& refusal) {
    return Refused(refusal.status, refusal.words);
  } catch (const simdjson::simdjson_error& error) {
    return Refused(400, absl::StrCat("Format error in JSON body: ", error.what()));
  }
}

std::string QdrantServer::Do(const std::string& method, const std::string& path, const std::string& body) {
  const std::vector<HttpServerHeader> headers = {{"api-key", options_.api_key}};
  const std::string padded = body + std::string(kHttpBodyPadding, ' ');
  const HttpServerResponse answer = Handle({.method = method,
                                            .target = path,
                                            .path = absl::string_view(path).substr(0, path.find('?')),
                                            .headers = headers,
                                            .body = absl::string_view(padded).substr(0, body.size())});
  EXPECT_EQ(answer.status, 200) << method << " " << path << ": " << answer.body;
  return answer.body;
}

std::vector<std::string> QdrantServer::Collections() {
  const std::lock_guard lock(state_->mutex);
  std::vector<std::string> names;
  for (const auto& [name, collection] : state_->collections) names.push_back(name);
  return names;
}

std::map<std::string, QdrantServer::Point> QdrantServer::Points(const std::string& collection) {
  const std::lock_guard lock(state_->mutex);
  std::map<std::string, Point> points;
  for (const auto& [id, point] : state_->collections[collection].points) points[id.Text()] = point;
  return points;
}

std::vector<std::map<std::string, QdrantServer::Point>> QdrantServer::Snapshots(const std::string& collection) {
  const std::lock_guard lock(state_->mutex);
  std::vector<std::map<std::string, Point>> snapshots;
  for (const auto& snapshot : state_->collections[collection].snapshots) {
    snapshots.emplace_back();
    for (const auto& [id, point] : snapshot) snapshots.back()[id.Text()] = point;
  }
  return snapshots;
}

int QdrantServer::Dim(const std::string& collection, const std::string& vector) {
  const std::lock_guard lock(state_->mutex);
  const auto& vectors = state_->collections[collection].vectors;
  const auto found = vectors.find(vector);
  return found == vectors.end() ? 0 : found->second.dim;
}

int QdrantServer::HnswM(const std::string& collection) {
  const std::lock_guard lock(state_->mutex);
  return state_->collections[collection].hnsw_m;
}

std::set<std::string> QdrantServer::Indexes(const std::string& collection) {
  const std::lock_guard lock(state_->mutex);
  std::set<std::string> fields;
  for (const auto& [field, schema] : state_->collections[collection].indexes) fields.insert(field);
  return fields;
}

void QdrantServer::FailNext(int count, int status,
                            std::function<bool(const std::string& method, const std::string& path)> matches) {
  const std::lock_guard lock(state_->mutex);
  state_->fail_count = count;
  state_->fail_status = status;
  state_->fail_matches = std::move(matches);
}

void QdrantServer::Refuse(const std::string& part) {
  const std::lock_guard lock(state_->mutex);
  state_->refused_part = part;
}

std::map<std::string, int> QdrantServer::requests() {
  const std::lock_guard lock(state_->mutex);
  return state_->requests;
}

size_t QdrantServer::largest_body() {
  const std::lock_guard lock(state_->mutex);
  return state_->largest_body;
}

}  // namespace reembed
