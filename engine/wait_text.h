// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_ENGINE_WAIT_TEXT_H_
#define REEMBED_ENGINE_WAIT_TEXT_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace reembed {

// How servers write down a wait, in fields and in sentences. Pure: what the clock shows is a parameter.

// The wait that the whole of a field names, above zero; infinite where no number could be longer. Read are:
//   a number of `unit`s ("120", "1.5"), or one so large that it is a moment in Unix seconds, ms, us or ns;
//   a date: the three of RFC 9110 (5.6.7: IMF-fixdate, RFC 850, asctime), zones by word or as +0200, and ISO 8601;
//   a duration: "6m0s", "120ms", "2 minutes", "1 hour and 30 minutes", "PT2M", "00:02:00";
//   a list of these, of which the longest counts; quotes, comments in brackets and parameters behind `;` are passed
//   over. nullopt: something else, or a moment that is over.
std::optional<absl::Duration> ParseWait(absl::string_view text, absl::Duration unit, absl::Time clock);

// The first wait that a sentence for people names: "Please try again in 1m30s", "retry after 2 minutes", "wait at least
// 5 s", "the limit resets at 2026-10-21T07:28:00Z". nullopt: none.
std::optional<absl::Duration> WaitInSentence(absl::string_view sentence, absl::Time clock);

// The moment that a date names, in any form of ParseWait(). A year of two digits is the nearest that is not more than
// fifty years ahead of the clock.
std::optional<absl::Time> ParseDate(absl::string_view text, absl::Time clock);

}  // namespace reembed

#endif  // REEMBED_ENGINE_WAIT_TEXT_H_
