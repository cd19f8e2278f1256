// SPDX-License-Identifier: Apache-2.0
#include "engine/text/js_join.h"

#include <cmath>
#include <optional>

#include "absl/strings/numbers.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_value.h"
#include "engine/number/number_text.h"

namespace reembed {
namespace {

bool AppendNumber(absl::string_view token, std::string* out) {
  double value = 0;
  if (!absl::SimpleAtod(token, &value)) return false;
  if (std::isinf(value)) {
    out->append(value < 0 ? "-Infinity" : "Infinity");
  } else {
    AppendJsNumber(value, out);
  }
  return true;
}

// An object whose own toString hides the inherited one has no text: JavaScript throws.
bool AppendObject(absl::string_view token, std::string* out) {
  JsonScanner scanner(token);
  const auto is_plain = [](absl::string_view name, absl::string_view) { return name != "toString"; };
  if (!ForEachMember(&scanner, is_plain)) return false;
  out->append("[object Object]");
  return true;
}

// Of a text whose structure was checked.
bool AppendElements(absl::string_view json, absl::string_view separator, size_t* elements, std::string* out) {
  JsonScanner scanner(json);
  std::string space;
  *elements = 0;
  return ForEachElement(&scanner, [&](absl::string_view token) {
    if ((*elements)++ > 0) out->append(separator.data(), separator.size());
    switch (token.front()) {
      case 'n':
        return true;
      case 't':
      case 'f':
        out->append(token.data(), token.size());
        return true;
      case '"': {
        const std::optional<absl::string_view> text = JsonString(token, &space);
        if (text.has_value()) out->append(text->data(), text->size());
        return text.has_value();
      }
      case '[': {
        size_t inner = 0;
        return AppendElements(token, ",", &inner, out);
      }
      case '{':
        return AppendObject(token, out);
      default:
        return AppendNumber(token, out);
    }
  });
}

}  // namespace

bool AppendJsJoin(absl::string_view json, absl::string_view separator, std::string* out) {
  JsonScanner scanner(json);
  absl::string_view whole;
  if (!scanner.TakeValue(&whole) || !scanner.AtEnd()) return false;
  const size_t begin = out->size();
  size_t elements = 0;
  if (AppendElements(whole, separator, &elements, out) && elements > 0) return true;
  out->resize(begin);
  return false;
}

}  // namespace reembed
