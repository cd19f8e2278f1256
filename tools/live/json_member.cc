// SPDX-License-Identifier: Apache-2.0
#include "tools/live/json_member.h"

#include "engine/number/json_reader.h"
#include "engine/number/json_value.h"

namespace reembed {

std::string JsonMember(absl::string_view json, absl::string_view name) {
  std::string found;
  JsonScanner scanner(json);
  (void)ForEachMember(&scanner, [&](absl::string_view member, absl::string_view value) {
    if (member != name) return true;
    std::string space;
    found = value.front() == '"' ? std::string(JsonString(value, &space).value_or("")) : std::string(value);
    return false;
  });
  return found;
}

}  // namespace reembed
