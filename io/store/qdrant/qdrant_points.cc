// SPDX-License-Identifier: Apache-2.0
#include "io/store/qdrant/qdrant_points.h"

#include <simdjson.h>

#include <map>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/ledger.h"
#include "engine/number/float_list.h"
#include "engine/number/json_text.h"

namespace reembed {
namespace {

namespace ondemand = simdjson::ondemand;

absl::string_view View(std::string_view text) { return absl::string_view(text.data(), text.size()); }

absl::string_view Trimmed(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  return View(text.substr(0, end == std::string_view::npos ? 0 : end + 1));
}

// The value as it stands in the text; scalars too. Empty: null.
std::optional<absl::string_view> Raw(ondemand::value value) {
  ondemand::json_type type;
  if (value.type().get(type) != simdjson::SUCCESS) return std::nullopt;
  std::string_view raw;
  switch (type) {
    case ondemand::json_type::object: {
      ondemand::object object;
      if (value.get_object().get(object) != simdjson::SUCCESS) return std::nullopt;
      if (object.raw_json().get(raw) != simdjson::SUCCESS) return std::nullopt;
      return View(raw);
    }
    case ondemand::json_type::array: {
      ondemand::array array;
      if (value.get_array().get(array) != simdjson::SUCCESS) return std::nullopt;
      if (array.raw_json().get(raw) != simdjson::SUCCESS) return std::nullopt;
      return View(raw);
    }
    case ondemand::json_type::null:
      return absl::string_view();
    default:
      return Trimmed(value.raw_json_token());
  }
}

bool ReadId(ondemand::value value, QdrantId* id) {
  uint64_t number = 0;
  if (value.get_uint64().get(number) == simdjson::SUCCESS) {
    *id = {.number = number};
    return true;
  }
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) return false;
  const std::optional<QdrantId> read = ParseQdrantId(View(text));
  if (read.has_value()) *id = *read;
  return read.has_value();
}

bool ReadPoint(ondemand::object object, QdrantPoint* point) {
  bool has_id = false;
  for (auto field : object) {
    std::string_view key;
    ondemand::value value;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS || field.value().get(value) != simdjson::SUCCESS) {
      return false;
    }
    if (key == "id") {
      has_id = ReadId(value, &point->id);
      if (!has_id) return false;
    } else if (key == "payload" || key == "vector") {
      const std::optional<absl::string_view> raw = Raw(value);
      if (!raw.has_value()) return false;
      (key == "payload" ? point->payload : point->vector) = *raw;
    }
  }
  return has_id;
}

bool ReadPoints(ondemand::array points, QdrantPage* page) {
  for (auto item : points) {
    ondemand::object object;
    QdrantPoint point;
    if (item.get_object().get(object) != simdjson::SUCCESS || !ReadPoint(object, &point)) return false;
    page->points.push_back(point);
  }
  return true;
}

bool ReadScroll(ondemand::object result, QdrantPage* page) {
  for (auto field : result) {
    std::string_view key;
    ondemand::value value;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS || field.value().get(value) != simdjson::SUCCESS) {
      return false;
    }
    if (key == "points") {
      ondemand::array points;
      if (value.get_array().get(points) != simdjson::SUCCESS || !ReadPoints(points, page)) return false;
    } else if (key == "next_page_offset" && !value.is_null()) {
      QdrantId next;
      if (!ReadId(value, &next)) return false;
      page->next = next;
    }
  }
  return true;
}

// The member `name` of the object `json` as raw JSON; empty: none.
absl::string_view MemberOf(absl::string_view json, absl::string_view name) {
  if (json.empty() || json[0] != '{') return "";
  const simdjson::padded_string padded(json.data(), json.size());
  ondemand::parser parser;
  ondemand::document document;
  ondemand::object object;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS) return "";
  if (document.get_object().get(object) != simdjson::SUCCESS) return "";
  for (auto field : object) {
    std::string_view key;
    ondemand::value value;
    if (field.unescaped_key().get(key) != simdjson::SUCCESS || field.value().get(value) != simdjson::SUCCESS) return "";
    if (View(key) != name) continue;
    const std::optional<absl::string_view> raw = Raw(value);
    if (!raw.has_value() || raw->empty()) return "";
    return json.substr(static_cast<size_t>(raw->data() - padded.data()), raw->size());
  }
  return "";
}

// The value with its fields in order, and its numbers in the digits that every server keeps.
void AppendInOrder(simdjson::dom::element value, std::string* out) {
  double number = 0;
  if (value.get_double().get(number) == simdjson::SUCCESS) {
    absl::StrAppendFormat(out, "%.12g", number);
  } else if (value.is_array()) {
    out->push_back('[');
    for (const simdjson::dom::element element : simdjson::dom::array(value)) {
      AppendInOrder(element, out);
      out->push_back(',');
    }
    out->push_back(']');
  } else if (value.is_object()) {
    std::map<std::string_view, simdjson::dom::element> fields;
    for (const auto& field : simdjson::dom::object(value)) fields[field.key] = field.value;
    out->push_back('{');
    for (const auto& [name, field] : fields) {
      AppendJsonString(View(name), out);
      out->push_back(':');
      AppendInOrder(field, out);
      out->push_back(',');
    }
    out->push_back('}');
  } else {
    out->append(simdjson::minify(value));
  }
}

}  // namespace

absl::StatusOr<QdrantPage> ReadQdrantPage(std::string* answer) {
  const size_t size = answer->size();
  answer->reserve(size + simdjson::SIMDJSON_PADDING);
  ondemand::parser parser;
  ondemand::document document;
  ondemand::value result;
  QdrantPage page;
  const simdjson::padded_string_view padded(answer->data(), size, answer->capacity());
  bool good =
      parser.iterate(padded).get(document) == simdjson::SUCCESS && document["result"].get(result) == simdjson::SUCCESS;
  if (good) {
    ondemand::json_type type;
    good = result.type().get(type) == simdjson::SUCCESS;
    ondemand::array points;
    ondemand::object scroll;
    if (good && type == ondemand::json_type::array) {
      good = result.get_array().get(points) == simdjson::SUCCESS && ReadPoints(points, &page);
    } else if (good) {
      good = result.get_object().get(scroll) == simdjson::SUCCESS && ReadScroll(scroll, &page);
    }
  }
  if (!good) return absl::DataLossError("expected points as Qdrant answers them, got something else");
  return page;
}

absl::string_view QdrantVectorIn(absl::string_view vector, absl::string_view name) {
  if (vector.empty() || vector[0] == '[') return name.empty() ? vector : "";
  return MemberOf(vector, name);
}

absl::string_view QdrantFieldIn(absl::string_view payload, absl::string_view name) {
  const absl::string_view whole = MemberOf(payload, name);
  const size_t dot = name.find('.');
  if (!whole.empty() || dot == absl::string_view::npos) return whole;
  return QdrantFieldIn(MemberOf(payload, name.substr(0, dot)), name.substr(dot + 1));
}

std::vector<std::string> QdrantFieldNames(absl::string_view payload) {
  std::vector<std::string> names;
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(payload.data(), payload.size()).get_object().get(object) != simdjson::SUCCESS) return names;
  for (const auto& field : object) names.emplace_back(field.key);
  return names;
}

std::string QdrantPayloadPrint(absl::string_view payload) {
  simdjson::dom::parser parser;
  simdjson::dom::element element;
  if (parser.parse(payload.data(), payload.size()).get(element) != simdjson::SUCCESS || !element.is_object()) return "";
  std::string in_order;
  AppendInOrder(element, &in_order);
  const TextHash hash = HashText(in_order);
  return absl::StrCat(absl::Hex(hash.hi, absl::kZeroPad16), absl::Hex(hash.lo, absl::kZeroPad16));
}

void AppendQdrantVector(absl::string_view name, absl::Span<const float> vector, std::string* out) {
  if (name.empty()) return AppendFloatList(vector, out);
  out->push_back('{');
  AppendJsonString(name, out);
  out->push_back(':');
  AppendFloatList(vector, out);
  out->push_back('}');
}

}  // namespace reembed
