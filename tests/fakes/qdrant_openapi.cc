// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/qdrant_openapi.h"

#include <simdjson.h>

#include <cstdlib>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace reembed {
namespace {

using simdjson::dom::element;

bool Get(const element& json, std::string_view name, element* value) {
  return json.is_object() && json[name].get(*value) == simdjson::SUCCESS;
}

std::string Text(const element& json) { return simdjson::minify(json); }

class OpenApi {
 public:
  explicit OpenApi(const std::string& path) { there_ = parser_.load(path).get(top_) == simdjson::SUCCESS; }

  bool there() const { return there_; }

  std::string Check(const std::string& method, const std::vector<std::string>& parts, const std::string& query,
                    absl::string_view body) const {
    element operation;
    if (!FindOperation(method, parts, &operation)) return "no such operation";
    for (const absl::string_view pair : absl::StrSplit(query, absl::ByAnyChar("?&"), absl::SkipEmpty())) {
      if (!HasParameter(operation, std::string(pair.substr(0, pair.find('=')))))
        return absl::StrCat("no parameter ", pair);
    }
    element wanted;
    if (!Get(operation, "requestBody", &wanted)) return body.empty() ? "" : "takes no body";
    element schema, json;
    if (wanted["content"]["application/json"]["schema"].get(schema) != simdjson::SUCCESS) return "";
    simdjson::dom::parser parser;
    if (parser.parse(body.data(), body.size()).get(json) != simdjson::SUCCESS) return "the body is no JSON";
    return Fits(json, schema);
  }

 private:
  bool FindOperation(const std::string& method, const std::vector<std::string>& parts, element* operation) const {
    int best = -1;
    for (const auto& path : simdjson::dom::object(top_["paths"])) {
      const std::vector<std::string> wanted =
          absl::StrSplit(absl::string_view(path.key.data(), path.key.size()), '/', absl::SkipEmpty());
      if (wanted.size() != parts.size()) continue;
      int literal = 0;
      bool fits = true;
      for (size_t i = 0; i < parts.size(); ++i) {
        if (wanted[i] == parts[i]) ++literal;
        fits = fits && (wanted[i] == parts[i] || wanted[i][0] == '{');
      }
      element found;
      if (!fits || literal <= best || !Get(path.value, absl::AsciiStrToLower(method), &found)) continue;
      best = literal;
      *operation = found;
    }
    return best >= 0;
  }

  static bool HasParameter(const element& operation, const std::string& name) {
    element parameters;
    if (!Get(operation, "parameters", &parameters)) return false;
    for (const element parameter : parameters) {
      if (std::string_view(parameter["name"]) == name) return true;
    }
    return false;
  }

  static bool HasType(const element& json, std::string_view type) {
    if (type == "object") return json.is_object();
    if (type == "array") return json.is_array();
    if (type == "string") return json.is_string();
    if (type == "boolean") return json.is_bool();
    if (type == "integer") return json.is_int64() || json.is_uint64();
    return json.is_number();
  }

  // What is wrong with the value.
  std::string Fits(const element& json, const element& schema) const {
    element value;
    if (Get(schema, "$ref", &value)) {
      const std::string_view pointer(value);
      return Fits(json, top_.at_pointer(pointer.substr(1)));
    }
    bool nullable = false;
    if (Get(schema, "nullable", &value)) nullable = bool(value);
    if (json.is_null() && nullable) return "";
    bool says_something = false;
    for (const char* any : {"anyOf", "oneOf"}) {
      if (!Get(schema, any, &value)) continue;
      says_something = true;
      std::vector<std::string> wrong;
      bool one = false;
      for (const element each : value) {
        wrong.push_back(Fits(json, each));
        one = one || wrong.back().empty();
      }
      if (!one) return absl::StrCat("none fits (", absl::StrJoin(wrong, "; "), ")");
    }
    if (Get(schema, "allOf", &value)) {
      says_something = true;
      for (const element each : value) {
        if (std::string wrong = Fits(json, each); !wrong.empty()) return wrong;
      }
    }
    if (Get(schema, "enum", &value)) {
      says_something = true;
      bool one = false;
      for (const element each : value) one = one || Text(each) == Text(json);
      if (!one) return absl::StrCat(Text(json), " is not in ", Text(value));
    }
    if (Get(schema, "type", &value)) {
      says_something = true;
      if (!HasType(json, value)) return absl::StrCat("no ", std::string(std::string_view(value)));
    }
    if (!says_something && nullable) return "not null";
    if (json.is_array() && Get(schema, "items", &value)) {
      for (const element item : json) {
        if (std::string wrong = Fits(item, value); !wrong.empty()) return absl::StrCat("[]: ", wrong);
      }
    }
    return json.is_object() ? FitsMembers(json, schema) : "";
  }

  std::string FitsMembers(const element& json, const element& schema) const {
    element required, properties, rest, value;
    if (Get(schema, "required", &required)) {
      for (const element name : required) {
        if (!Get(json, name, &value)) return absl::StrCat("lacks ", Text(name));
      }
    }
    const bool has_properties = Get(schema, "properties", &properties);
    const bool has_rest = Get(schema, "additionalProperties", &rest) && !(rest.is_bool() && !bool(rest));
    for (const auto& member : simdjson::dom::object(json)) {
      const std::string name(member.key);
      std::string wrong;
      if (has_properties && Get(properties, member.key, &value)) {
        wrong = Fits(member.value, value);
      } else if (has_rest && rest.is_object()) {
        wrong = Fits(member.value, rest);
      } else if (has_properties && !has_rest) {
        wrong = "unknown";
      }
      if (!wrong.empty()) return absl::StrCat(name, ": ", wrong);
    }
    return "";
  }

  simdjson::dom::parser parser_;
  element top_;
  bool there_ = false;
};

}  // namespace

std::string CheckAgainstQdrantOpenApi(const std::string& method, const std::vector<std::string>& parts,
                                      const std::string& query, absl::string_view body) {
  const char* const path = std::getenv("REEMBED_QDRANT_OPENAPI");
  if (path == nullptr || *path == '\0') return "";
  static const auto* const api = new OpenApi(path);
  if (!api->there()) return absl::StrCat(path, ": cannot be read");
  return api->Check(method, parts, query, body);
}

}  // namespace reembed
