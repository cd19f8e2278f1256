// SPDX-License-Identifier: Apache-2.0
#include "engine/number/json_reader.h"

#include "engine/number/json_text.h"
#include "engine/number/json_value.h"

namespace reembed {

bool ForEachMember(JsonScanner* scanner,
                   absl::FunctionRef<bool(absl::string_view name, absl::string_view value)> take) {
  if (!scanner->Take('{')) return false;
  if (scanner->Take('}')) return true;
  std::string space;
  do {
    absl::string_view token, value;
    if (!scanner->TakeString(&token) || !scanner->Take(':') || !scanner->TakeValue(&value)) return false;
    const std::optional<absl::string_view> name = JsonString(token, &space);
    if (!name.has_value() || !take(*name, value)) return false;
  } while (scanner->Take(','));
  return scanner->Take('}');
}

bool ForEachElement(JsonScanner* scanner, absl::FunctionRef<bool(absl::string_view value)> take) {
  if (!scanner->Take('[')) return false;
  if (scanner->Take(']')) return true;
  do {
    absl::string_view value;
    if (!scanner->TakeValue(&value) || !take(value)) return false;
  } while (scanner->Take(','));
  return scanner->Take(']');
}

std::optional<JsonObject> JsonObject::Parse(absl::string_view text, size_t* position) {
  JsonObject object;
  JsonScanner scanner(text);
  const auto take = [&object](absl::string_view name, absl::string_view value) {
    object.members_.emplace_back(std::string(name), value);
    return true;
  };
  const bool good = IsValidUtf8(text) && ForEachMember(&scanner, take) && scanner.AtEnd();
  if (position != nullptr) *position = scanner.position();
  if (!good) return std::nullopt;
  return object;
}

absl::string_view JsonObject::Raw(absl::string_view name) const {
  for (const auto& [member, value] : members_) {
    if (member == name) return value;
  }
  return "";
}

bool JsonObject::Take(absl::string_view name, std::string* value) const {
  std::string space;
  const std::optional<absl::string_view> text = JsonString(Raw(name), &space);
  if (!text.has_value() || !IsValidUtf8(*text)) return false;
  value->assign(text->data(), text->size());
  return true;
}

bool JsonObject::Take(absl::string_view name, int64_t* value) const {
  const std::optional<int64_t> number = JsonInteger(Raw(name));
  if (number.has_value()) *value = *number;
  return number.has_value();
}

std::optional<std::vector<absl::string_view>> JsonElements(absl::string_view array) {
  std::vector<absl::string_view> elements;
  JsonScanner scanner(array);
  const auto take = [&elements](absl::string_view value) {
    elements.push_back(value);
    return true;
  };
  if (!ForEachElement(&scanner, take) || !scanner.AtEnd()) return std::nullopt;
  return elements;
}

}  // namespace reembed
