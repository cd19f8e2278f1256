// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_writer.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/number/json_text.h"

namespace reembed {

void AppendJsonMember(absl::string_view name, absl::string_view json, std::string* object) {
  if (!object->empty() && object->back() != '{') object->push_back(',');
  AppendJsonString(name, object);
  absl::StrAppend(object, ":", json);
}

std::string JsonNumber(double number) { return std::isfinite(number) ? absl::StrFormat("%.10g", number) : "null"; }

JsonWriter& JsonWriter::AddRaw(absl::string_view name, absl::string_view json) {
  AppendJsonMember(name, json, &members_);
  return *this;
}

JsonWriter& JsonWriter::Add(absl::string_view name, absl::string_view text) { return AddRaw(name, JsonQuoted(text)); }

JsonWriter& JsonWriter::Add(absl::string_view name, int64_t number) { return AddRaw(name, absl::StrCat(number)); }

JsonWriter& JsonWriter::Add(absl::string_view name, double number) { return AddRaw(name, JsonNumber(number)); }

std::string JsonArray(absl::Span<const std::string> elements) {
  return absl::StrCat("[", absl::StrJoin(elements, ","), "]");
}

}  // namespace reembed
