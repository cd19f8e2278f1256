// SPDX-License-Identifier: Apache-2.0
#include "engine/text/js_join.h"

#include <cmath>
#include <optional>

#include "absl/strings/numbers.h"
#include "engine/number/json_scanner.h"
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
  std::string space;
  bool more = scanner.Take('{') && !scanner.Take('}');
  while (more) {
    absl::string_view name, value;
    if (!scanner.TakeString(&name) || !scanner.Take(':') || !scanner.TakeValue(&value)) return false;
    if (JsonString(name, &space) == absl::string_view("toString")) return false;
    more = scanner.Take(',');
  }
  out->append("[object Object]");
  return true;
}

// Of a text whose structure was checked.
bool AppendElements(absl::string_view json, absl::string_view separator, size_t* elements, std::string* out) {
  JsonScanner scanner(json);
  if (!scanner.Take('[')) return false;
  std::string space;
  *elements = 0;
  bool more = !scanner.Take(']');
  while (more) {
    absl::string_view token;
    if (!scanner.TakeValue(&token)) return false;
    if ((*elements)++ > 0) out->append(separator.data(), separator.size());
    bool taken = true;
    switch (token.front()) {
      case 'n':
        break;
      case 't':
      case 'f':
        out->append(token.data(), token.size());
        break;
      case '"': {
        const std::optional<absl::string_view> text = JsonString(token, &space);
        taken = text.has_value();
        if (taken) out->append(text->data(), text->size());
        break;
      }
      case '[': {
        size_t inner = 0;
        taken = AppendElements(token, ",", &inner, out);
        break;
      }
      case '{':
        taken = AppendObject(token, out);
        break;
      default:
        taken = AppendNumber(token, out);
    }
    if (!taken) return false;
    more = scanner.Take(',');
  }
  return true;
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
