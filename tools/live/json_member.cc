// SPDX-License-Identifier: Apache-2.0
#include "tools/live/json_member.h"

#include "absl/strings/str_cat.h"
#include "engine/number/json_scanner.h"
#include "engine/number/json_value.h"

namespace reembed {

std::string JsonMember(absl::string_view json, absl::string_view name) {
  const std::string quoted = absl::StrCat("\"", name, "\"");
  JsonScanner scanner(json);
  if (!scanner.Take('{')) return "";
  do {
    absl::string_view member, value;
    if (!scanner.TakeString(&member) || !scanner.Take(':') || !scanner.TakeValue(&value)) return "";
    if (member != quoted) continue;
    std::string space;
    return value.front() == '"' ? std::string(JsonString(value, &space).value_or("")) : std::string(value);
  } while (scanner.Take(','));
  return "";
}

}  // namespace reembed
