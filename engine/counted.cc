// SPDX-License-Identifier: Apache-2.0
#include "engine/counted.h"

#include "absl/strings/str_cat.h"

namespace reembed {

std::string WithCommas(int64_t number) {
  const std::string digits = absl::StrCat(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    const size_t left = digits.size() - i;
    if (left % 3 == 0 && i > 0 && digits[i - 1] != '-') text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

std::string Counted(int64_t number, absl::string_view one, absl::string_view many) {
  return absl::StrCat(WithCommas(number), " ", number == 1 ? one : many);
}

}  // namespace reembed
