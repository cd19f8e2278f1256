// SPDX-License-Identifier: Apache-2.0
#include "engine/place_name.h"

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace reembed {
namespace {

// Whether `now` is `before`, or the absolute path of what `before` names from some folder.
bool IsPathOf(absl::string_view before, absl::string_view now) {
  if (before == now) return true;
  while (absl::ConsumePrefix(&before, "./")) {
  }
  return !before.empty() && before[0] != '/' && absl::StartsWith(now, "/") &&
         absl::EndsWith(now, absl::StrCat("/", before));
}

}  // namespace

std::string PlaceName(const Location& place) {
  return absl::StartsWith(place.path, "//") ? absl::StrCat(place.scheme, ":", place.path) : place.path;
}

bool IsNameOf(absl::string_view name, const Location& place) {
  const absl::StatusOr<Location> before = ParseLocation(name);
  if (!before.ok() || before->scheme != place.scheme || !IsPathOf(before->path, place.path)) return false;
  return std::equal(
      before->parameters.begin(), before->parameters.end(), place.parameters.begin(), place.parameters.end(),
      [](const auto& was, const auto& is) { return was.first == is.first && IsPathOf(was.second, is.second); });
}

}  // namespace reembed
