// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_COUNTED_H_
#define REEMBED_ENGINE_COUNTED_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

// How numbers of things look to people.
namespace reembed {

std::string WithCommas(int64_t number);  // 1234567 -> "1,234,567"

// "1 row", "1,234 rows", "0 rows". Verbs may come along: Counted(n, "row has", "rows have").
std::string Counted(int64_t number, absl::string_view one, absl::string_view many);

}  // namespace reembed

#endif  // REEMBED_ENGINE_COUNTED_H_
