// SPDX-License-Identifier: Apache-2.0
#include "engine/key.h"

#include "absl/strings/str_cat.h"
#include "engine/number/json_text.h"

namespace reembed {
KeyView ViewOf(const Key& key) {
  if (const auto* number = std::get_if<int64_t>(&key)) return *number;
  return absl::string_view(std::get<std::string>(key));
}

Key Own(KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) return *number;
  return std::string(std::get<absl::string_view>(key));
}

std::string KeyText(KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) return absl::StrCat(*number);
  return std::string(std::get<absl::string_view>(key));
}

std::string KeyJson(KeyView key) {
  if (const auto* number = std::get_if<int64_t>(&key)) return absl::StrCat(*number);
  std::string json;
  AppendJsonString(std::get<absl::string_view>(key), &json);
  return json;
}

}  // namespace reembed
