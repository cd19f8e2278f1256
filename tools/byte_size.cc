// SPDX-License-Identifier: Apache-2.0
#include "tools/byte_size.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace reembed {

absl::StatusOr<int64_t> ParseBytes(absl::string_view flag, absl::string_view text) {
  if (text.empty()) return 0;
  static constexpr std::pair<absl::string_view, double> kUnits[] = {
      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}, {"kB", 1e3},   {"KB", 1e3},   {"MB", 1e6},
      {"GB", 1e9},     {"TB", 1e12},    {"K", 0x1p10},   {"M", 0x1p20},   {"G", 0x1p30}, {"T", 0x1p40}, {"B", 1},
  };
  absl::string_view number = text;
  double unit = 1;
  for (const auto& [name, bytes] : kUnits) {
    if (!absl::ConsumeSuffix(&number, name)) continue;
    unit = bytes;
    break;
  }
  double count = 0;
  constexpr double kMost = 0x1p60;
  if (absl::SimpleAtod(absl::StripAsciiWhitespace(number), &count) && count > 0 && count * unit <= kMost) {
    return static_cast<int64_t>(count * unit);
  }
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", text, ": expected a size, as 4GiB or 500MB"));
}

}  // namespace reembed
