// SPDX-License-Identifier: Apache-2.0
#include "tools/waits.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/location.h"
#include "engine/number/json_writer.h"
#include "engine/place_name.h"

namespace reembed {
namespace {

// Of fewer looks nobody should conclude anything: that was a second.
constexpr int64_t kTellingLooks = 50;
constexpr double kHoldsUp = 0.5;
constexpr double kWorthAWord = 0.05;

bool IsTelling(absl::Span<const WaitShare> shares) { return !shares.empty() && shares.front().of >= kTellingLooks; }

std::string NameOf(const WaitedFor& what) {
  switch (what.part) {
    case WaitPart::kSource:
      return "the source";
    case WaitPart::kApi:
      return "the API";
    case WaitPart::kQuota:
      return "the quota";
    case WaitPart::kProcessor:
      return "the processor";
    case WaitPart::kDisk:
      return "the disk of the job";
    case WaitPart::kTarget:
      break;
  }
  const absl::StatusOr<Location> place = ParseLocation(what.target);
  return absl::StrCat("target ", place.ok() ? PlaceName(*place) : what.target);
}

}  // namespace

absl::string_view WaitPartWord(WaitPart part) {
  switch (part) {
    case WaitPart::kSource:
      return "source";
    case WaitPart::kApi:
      return "api";
    case WaitPart::kQuota:
      return "quota";
    case WaitPart::kProcessor:
      return "processor";
    case WaitPart::kDisk:
      return "disk";
    case WaitPart::kTarget:
      return "target";
  }
  return "";
}

std::string WaitText(const WaitShare& share) {
  return absl::StrCat(NameOf(share.what), " ", std::lround(100 * share.share), " %");
}

std::optional<WaitShare> WhatHoldsUp(absl::Span<const WaitShare> shares) {
  if (!IsTelling(shares) || shares.front().share < kHoldsUp) return std::nullopt;
  const WaitPart part = shares.front().what.part;
  if (part == WaitPart::kApi || part == WaitPart::kProcessor) return std::nullopt;
  return shares.front();
}

std::string WaitLine(absl::Span<const WaitShare> shares) {
  std::string line;
  if (!IsTelling(shares)) return line;
  for (const WaitShare& share : shares) {
    if (share.share < kWorthAWord) continue;
    absl::StrAppend(&line, line.empty() ? "waited for " : ", ", WaitText(share));
  }
  if (!line.empty()) absl::StrAppend(&line, " of the time");
  return line;
}

std::string WaitJson(absl::Span<const WaitShare> shares) {
  std::vector<std::string> objects;
  for (const WaitShare& share : shares) {
    JsonWriter object;
    object.Add("part", WaitPartWord(share.what.part));
    if (share.what.part == WaitPart::kTarget) object.Add("target", share.what.target);
    objects.push_back(object.AddRaw("share", absl::StrFormat("%.4f", share.share)).ToString());
  }
  return JsonArray(objects);
}

}  // namespace reembed
