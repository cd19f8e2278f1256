// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_DATE_TEXT_H_
#define REEMBED_ENGINE_DATE_TEXT_H_

#include <cstddef>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace reembed {

// Dates as servers write them, in lower case: what wait_text.h reads them with. Pure: what the clock shows is a
// parameter.

// Words of the longest date: "wed oct 21 2026 07:28:00 gmt +0200".
inline constexpr size_t kMaxDateWords = 7;

// The moment that a whole text in lower case names, in any form of ParseDate() (wait_text.h); nullopt: none.
std::optional<absl::Time> DateOf(absl::string_view text, absl::Time clock);

// Whether a word in lower case begins as a day of the week does.
bool IsWeekday(absl::string_view word);

}  // namespace reembed

#endif  // REEMBED_ENGINE_DATE_TEXT_H_
