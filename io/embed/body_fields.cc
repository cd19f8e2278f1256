// SPDX-License-Identifier: Apache-2.0
#include "io/embed/body_fields.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_text.h"
#include "engine/setting.h"

namespace reembed {
namespace {

bool IsJson(absl::string_view text) {
  JsonScanner scanner(text);
  absl::string_view value;
  return scanner.TakeValue(&value) && scanner.AtEnd();
}

// The names of an object's members.
std::vector<std::string> NamesIn(absl::string_view object) {
  std::vector<std::string> names;
  JsonScanner scanner(object);
  (void)ForEachMember(&scanner, [&names](absl::string_view name, absl::string_view) {
    names.emplace_back(name);
    return true;
  });
  return names;
}

// What a user sets instead to have another value in a field of ours.
struct OtherWay {
  const char* words = "";
  std::optional<Setting> setting;
};

OtherWay OtherWayOf(absl::string_view name) {
  if (name == "model") return {"set the model", Setting::kModel};
  if (name == "dimensions" || name == "output_dimension" || name == "outputDimensionality") {
    return {"set the dimensions", Setting::kDimensions};
  }
  if (name == "input_type" || name == "task" || name == "taskType") {
    return {"set the input type, or none", Setting::kInputType};
  }
  if (name == "truncate" || name == "truncation" || name == "truncate_prompt_tokens") {
    return {"set truncation", Setting::kTruncate};
  }
  return {"leave it out", std::nullopt};
}

}  // namespace

absl::StatusOr<BodyField> ParseBodyField(absl::string_view text) {
  const size_t equals = text.find('=');
  BodyField field{.name = std::string(absl::StripAsciiWhitespace(text.substr(0, equals)))};
  if (equals == absl::string_view::npos || field.name.empty()) {
    return absl::InvalidArgumentError("expected name=value, for example input_type=passage");
  }
  const absl::string_view value = text.substr(equals + 1);
  if (!IsValidUtf8(text)) return absl::InvalidArgumentError("expected UTF-8");
  if (IsJson(value)) {
    field.json = std::string(absl::StripAsciiWhitespace(value));
  } else {
    AppendJsonString(value, &field.json);
  }
  return field;
}

absl::Status AddBodyFields(absl::Span<const BodyField> fields, WireForm* wire) {
  std::vector<std::string> names = wire->fields_per_text
                                       ? NamesIn(absl::StrCat(wire->before_text, "\"\"", wire->after_text))
                                       : NamesIn(absl::StrCat(wire->head, wire->tail));
  const size_t own = names.size();
  std::string* const end = wire->fields_per_text ? &wire->after_text : &wire->tail;
  for (const BodyField& field : fields) {
    const auto found = std::find(names.begin(), names.end(), field.name);
    if (found != names.end() && found < names.begin() + static_cast<std::ptrdiff_t>(own)) {
      const OtherWay way = OtherWayOf(field.name);
      absl::Status refused =
          absl::InvalidArgumentError(absl::StrCat(field.name, ": reembed writes this field itself; ", way.words));
      return way.setting.has_value() ? WithSetting(std::move(refused), *way.setting) : refused;
    }
    if (found != names.end()) return absl::InvalidArgumentError(absl::StrCat(field.name, ": given twice"));
    names.push_back(field.name);
    end->pop_back();  // the brace
    end->push_back(',');
    AppendJsonString(field.name, end);
    absl::StrAppend(end, ":", field.json, "}");
  }
  return absl::OkStatus();
}

}  // namespace reembed
