// SPDX-License-Identifier: Apache-2.0
#include "io/system/automem_payload.h"

#include <locale.h>
#include <simdjson.h>
#include <wchar.h>
#include <wctype.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "engine/text/text_template.h"
#include "io/store/qdrant/qdrant_points.h"

namespace reembed {
namespace {

// What the server puts where a node has nothing; nullptr: nothing.
struct Field {
  const char* name;
  const char* otherwise;
};
constexpr Field kFields[] = {
    {"content", R"("")"},       {"tags", "[]"},          {"tag_prefixes", "[]"},      {"importance", "0.5"},
    {"timestamp", nullptr},     {"type", R"("Memory")"}, {"confidence", "0.5"},       {"updated_at", nullptr},
    {"last_accessed", nullptr}, {"metadata", "{}"},      {"relevance_score", "null"}, {"t_valid", nullptr},
    {"t_invalid", nullptr},     {"archived", nullptr}};
constexpr size_t kTags = 1, kTagPrefixes = 2, kMetadata = 9;

// Lower case by the rules of Unicode, character by character, as nearly all of Python's str.lower() is.
std::string Lower(const std::string& text) {
  const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (locale == nullptr) return absl::AsciiStrToLower(text);
  const locale_t before = uselocale(locale);
  std::string lower;
  const char* at = text.data();
  const char* const end = at + text.size();
  mbstate_t from = {}, to = {};
  while (at < end) {
    wchar_t character;
    const size_t bytes = mbrtowc(&character, at, static_cast<size_t>(end - at), &from);
    if (bytes == 0 || bytes > 4) break;  // NUL, or no UTF-8
    std::array<char, 16> out;
    const size_t written = wcrtomb(out.data(), static_cast<wchar_t>(towlower(static_cast<wint_t>(character))), &to);
    lower.append(out.data(), written);
    at += bytes;
  }
  lower.append(at, static_cast<size_t>(end - at));
  uselocale(before);
  freelocale(locale);
  return lower;
}

// Whitespace at the ends as Python's str.strip() takes it.
std::string Trimmed(const std::string& text) {
  absl::StatusOr<TextTemplate> trim = TextTemplate::Parse("{tag|trim}");
  if (!trim.ok()) return text;
  const std::optional<absl::string_view> value = text;
  std::string out;
  trim->Render(absl::MakeConstSpan(&value, 1), &out);
  return out;
}

std::string NumberJson(double number) {
  if (!std::isfinite(number)) return "null";
  std::array<char, 32> digits;
  const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  const absl::string_view text(digits.data(), static_cast<size_t>(end - digits.data()));
  // As Python prints it: a number that is whole stays one with a point.
  return absl::StrCat(text, text.find_first_of(".e") == absl::string_view::npos ? ".0" : "");
}

std::string Json(const FalkorValue& value) {
  if (const bool* flag = std::get_if<bool>(&value.value)) return *flag ? "true" : "false";
  if (const int64_t* number = std::get_if<int64_t>(&value.value)) return absl::StrCat(*number);
  if (const double* number = std::get_if<double>(&value.value)) return NumberJson(*number);
  if (const std::string* text = std::get_if<std::string>(&value.value)) {
    if (!IsValidUtf8(*text)) return "null";
    std::string json;
    AppendJsonString(*text, &json);
    return json;
  }
  if (const FalkorValue::List* list = std::get_if<FalkorValue::List>(&value.value)) {
    return absl::StrCat(
        "[", absl::StrJoin(*list, ",", [](std::string* out, const FalkorValue& each) { out->append(Json(each)); }),
        "]");
  }
  return "null";
}

// A node keeps its metadata as JSON text; a text that is no object is none.
std::string MetadataJson(const FalkorValue& value) {
  const std::string* const text = std::get_if<std::string>(&value.value);
  if (text == nullptr) return "";
  simdjson::dom::parser parser;
  return parser.parse(text->data(), text->size()).is_object() ? *text : "";
}

// The tags that the server would take from the property. [automem/utils/tags.py:_normalize_tag_list]
std::vector<std::string> TagsOf(const FalkorValue& value) {
  std::vector<std::string> tags;
  if (const std::string* text = std::get_if<std::string>(&value.value)) {
    for (const absl::string_view part : absl::StrSplit(*text, ',')) tags.emplace_back(part);
  } else if (const FalkorValue::List* list = std::get_if<FalkorValue::List>(&value.value)) {
    for (const FalkorValue& item : *list) {
      if (const std::string* tag = std::get_if<std::string>(&item.value)) tags.push_back(*tag);
    }
  }
  return tags;
}

// What the node says for a field, as JSON; empty: nothing.
std::string NodeJson(size_t field, const FalkorProperties& node) {
  const FalkorValue& value = node[field];
  if (field == kMetadata) return MetadataJson(value);
  if (!value.IsNull()) return Json(value);
  if (field != kTagPrefixes) return "";
  // Nodes from before the property; without it the point is found by none of its tags' prefixes.
  FalkorValue::List prefixes;
  for (std::string& prefix : AutomemTagPrefixes(TagsOf(node[kTags]))) prefixes.push_back({std::move(prefix)});
  return prefixes.empty() ? "" : Json({std::move(prefixes)});
}

class AutomemPayloads final : public QdrantPayloads {
 public:
  explicit AutomemPayloads(std::unique_ptr<FalkorFetch> nodes) : nodes_(std::move(nodes)) {}

  // [automem/stores/runtime_clients.py:160-181]
  std::vector<std::string> keyword_indexes() const override { return {"tags", "tag_prefixes"}; }

  absl::Status Complete(absl::Span<const KeyView> keys, absl::Span<std::string* const> payloads) override {
    constexpr size_t kKeys = 256;  // in one query
    for (size_t begin = 0; begin < keys.size(); begin += kKeys) {
      const absl::Span<const KeyView> part = keys.subspan(begin, kKeys);
      ABSL_ASSIGN_OR_RETURN(const auto nodes, nodes_->Fetch(part, AutomemPayloadProperties()));
      for (size_t i = 0; i < part.size(); ++i) {
        std::string* const payload = payloads[begin + i];
        if (nodes[i].has_value()) *payload = AutomemPayload(*payload, *nodes[i]);
      }
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<FalkorFetch> nodes_;
};

}  // namespace

std::vector<std::string> AutomemTagPrefixes(absl::Span<const std::string> tags) {
  std::vector<std::string> prefixes;
  for (const std::string& tag : tags) {
    std::string prefix;
    for (const absl::string_view part : absl::StrSplit(Lower(Trimmed(tag)), absl::ByAnyChar(":/"), absl::SkipEmpty())) {
      absl::StrAppend(&prefix, prefix.empty() ? "" : ":", part);
      if (std::find(prefixes.begin(), prefixes.end(), prefix) == prefixes.end()) prefixes.push_back(prefix);
    }
  }
  return prefixes;
}

const std::vector<std::string>& AutomemPayloadProperties() {
  static const auto* const names = [] {
    auto* const list = new std::vector<std::string>();
    for (const Field& field : kFields) list->push_back(field.name);
    return list;
  }();
  return *names;
}

std::string AutomemPayload(absl::string_view old, const FalkorProperties& node) {
  const bool is_new = old.empty();
  const std::vector<std::string> names = is_new ? std::vector<std::string>() : QdrantFieldNames(old);
  std::string json(is_new ? "{" : absl::StripTrailingAsciiWhitespace(old));
  bool first = names.empty();
  if (!is_new) json.pop_back();
  for (size_t i = 0; i < std::size(kFields); ++i) {
    if (std::find(names.begin(), names.end(), kFields[i].name) != names.end()) continue;
    std::string value = NodeJson(i, node);
    if (value.empty() && is_new && kFields[i].otherwise != nullptr) value = kFields[i].otherwise;
    if (value.empty()) continue;
    absl::StrAppend(&json, first ? "" : ",", "\"", kFields[i].name, "\":", value);
    first = false;
  }
  json.push_back('}');
  return json;
}

absl::StatusOr<std::unique_ptr<QdrantPayloads>> OpenAutomemPayloads(const Location& location,
                                                                    const AutomemLogin& login) {
  ABSL_ASSIGN_OR_RETURN(const AutomemLocation asked, ParseAutomemLocation(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<FalkorFetch> nodes, FalkorFetch::Open(asked.nodes, login.graph));
  return std::make_unique<AutomemPayloads>(std::move(nodes));
}

}  // namespace reembed
