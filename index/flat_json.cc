// SPDX-License-Identifier: Apache-2.0
#include "index/flat_json.h"

#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"

namespace reembed {
namespace {

bool IsFraction(absl::string_view number) { return number.find_first_of(".eE") != absl::string_view::npos; }

// nullopt: an object, a list, null, or what is too large.
std::optional<FlatJsonValue> ValueOf(absl::string_view token, std::string* space) {
  if (token == "true" || token == "false") return FlatJsonValue(token == "true");
  if (token.front() == '"') {
    const std::optional<absl::string_view> text = JsonString(token, space);
    if (!text.has_value() || !IsValidUtf8(*text)) return std::nullopt;
    return FlatJsonValue(std::string(*text));
  }
  if (!IsFraction(token)) {
    const std::optional<int64_t> number = JsonInteger(token);
    return number.has_value() ? std::optional<FlatJsonValue>(*number) : std::nullopt;
  }
  double number = 0;
  if (!absl::SimpleAtod(token, &number) || !std::isfinite(number)) return std::nullopt;
  return FlatJsonValue(number);
}

}  // namespace

absl::StatusOr<FlatJson> ParseFlatJson(absl::string_view json) {
  FlatJson object;
  std::string space;
  JsonScanner scanner(json);
  const bool good = ForEachMember(&scanner, [&](absl::string_view name, absl::string_view token) {
    std::optional<FlatJsonValue> value = ValueOf(token, &space);
    return value.has_value() && IsValidUtf8(name) && object.emplace(std::string(name), *std::move(value)).second;
  });
  if (good && scanner.AtEnd()) return object;
  return absl::InvalidArgumentError(
      absl::StrCat("expected a flat JSON object, got something else at byte ", scanner.position()));
}

}  // namespace reembed
