// SPDX-License-Identifier: Apache-2.0
#include "io/embed/body_wait.h"

#include <simdjson.h>

#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace reembed {
namespace {

using simdjson::dom::element;

constexpr int kDeepest = 4;

struct WaitField {
  absl::string_view name;       // compared without regard to case
  absl::string_view unit = "";  // of a bare number, if it is not seconds
};
constexpr WaitField kWaitFields[] = {
    {"retry_after_ms", "ms"}, {"retryAfterMs", "ms"}, {"retry-after-ms", "ms"}, {"retry_after"},
    {"retryAfter"},           {"retry-after"},        {"retry_after_seconds"},  {"retryAfterSeconds"},
    {"retryDelay"},           {"retry_in"},           {"x-ratelimit-reset"},    {"estimated_time"},
};

// Where such fields are, if not at the top.
constexpr absl::string_view kInside[] = {"error", "detail", "metadata", "headers", "parameters"};

std::string TextOf(const element& value) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) return std::string(text);
  double number = 0;
  return value.get_double().get(number) == simdjson::SUCCESS && number > 0 ? absl::StrFormat("%.17g", number) : "";
}

std::string WaitIn(const element& value, int depth) {
  simdjson::dom::object object;
  if (depth > kDeepest || value.get_object().get(object) != simdjson::SUCCESS) return "";
  for (const WaitField& field : kWaitFields) {
    for (const auto& member : object) {
      if (!absl::EqualsIgnoreCase(absl::string_view(member.key.data(), member.key.size()), field.name)) continue;
      if (std::string text = TextOf(member.value); !text.empty()) {
        const bool bare = text.find_first_not_of("0123456789.") == std::string::npos;
        return absl::StrCat(text, bare ? field.unit : "");
      }
    }
  }
  for (const absl::string_view name : kInside) {
    element inner;
    if (object[std::string_view(name.data(), name.size())].get(inner) != simdjson::SUCCESS) continue;
    if (std::string text = WaitIn(inner, depth + 1); !text.empty()) return text;
  }
  return "";
}

}  // namespace

std::string WaitInBody(absl::string_view body) {
  constexpr size_t kMaxErrorBytes = 1 << 20;
  if (body.size() > kMaxErrorBytes) return "";
  simdjson::dom::parser parser;
  element top;
  if (parser.parse(body.data(), body.size()).get(top) != simdjson::SUCCESS) return "";
  if (element first; top.at(0).get(first) == simdjson::SUCCESS) top = first;
  return WaitIn(top, 0);
}

}  // namespace reembed
